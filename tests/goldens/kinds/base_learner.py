"""Training and validation of the base learner (hmnet.md §2.4): data, rates, SGD steps, base mIoU."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets.coco import Coco
from datamodules.datasets.pascal import Pascal
from datamodules.loading.augment import Augmentation
from datamodules.loading.distributed import TrainingBatches
from fsbench.data.batch import normalise
from fsbench.data.label_maps import way_labels
from fsbench.data.step_division import StepDivision
from fsbench.data.transforms import resize_labels_padded, resize_padded
from fsbench.metrics.confusion import background_intersection_union, intersection_union, mean_iou
from fsbench.metrics.episodic import count
from methods.hmnet.base_training import label_map, pixel_loss, sgd
from methods.modules.poly_rate import poly_schedule
from methods.modules.pspnet import PSPNet
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Tolerance, absolute, compare, equal, relative
from tests.goldens.hashed import hash_state, hash_values

DATA_SETS = {"pascal": Pascal, "coco": Coco}
KEPT = 0.9
"""Share of channels that the dropout keeps (§2.3)."""


def classes_of(config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return base and novel classes of the case's fold; a data set's classes need no files."""
    data_set = DATA_SETS[config["data_set"]]
    index = data_set.__new__(data_set)
    return index.train_classes(config["fold"]), index.test_classes(config["fold"])


def base_labels(case: Case) -> Comparisons:
    base, novel = classes_of(case.config)
    if "in.label" in case.tensors:
        yield case.compare("out.label", way_labels(case.tensors["in.label"].numpy().astype(np.uint8), base), EXACT)
    yield case.compare("out.base_classes", torch.tensor(base), EXACT)
    yield case.compare("out.novel_classes", torch.tensor(novel), EXACT)


def base_rates(case: Case) -> Comparisons:
    c = case.config
    division = StepDivision(c["processes"] * c["batch_per_process"], c["processes"])
    steps = len(TrainingBatches(c["images"], 0, division, fill_to=c["processes"], drop_last=True))
    if "steps_per_epoch" in case.data:
        yield equal("steps of an epoch", steps, case.data["steps_per_epoch"])
    if "max_iter" in case.data:
        yield equal("steps", c["epochs"] * steps, case.data["max_iter"])
    with torch.device("meta"):
        optimizer = sgd(PSPNet("resnet50", 1), c["base_lr"], c["index_split"], 0.9, 0.0)
    schedule = poly_schedule(optimizer, c["epochs"] * steps, c.get("power", 0.9))
    for step, *rates in case.data.get("rows", []):
        found = [rate * factor(step - 1) for rate, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
        references = torch.tensor(rates, dtype=torch.float64)
        yield compare(f"rates of step {step}", torch.tensor(found, dtype=torch.float64), references, absolute(1e-12))


def _numbers(case: Case, prefix: str) -> list[int]:
    return sorted(int(name) for name in case.group(prefix))


def padded_resize(case: Case) -> Comparisons:
    size = case.config["size"]
    for i in _numbers(case, "in.image_"):
        image = resize_padded(case.tensors[f"in.image_{i}"].numpy(), size)
        yield case.compare(f"out.normalised_{i}", normalise(image), absolute(1e-4))
    for i in _numbers(case, "in.label_"):
        labels = resize_labels_padded(case.tensors[f"in.label_{i}"].numpy().astype(np.uint8), size)
        yield case.compare(f"out.label_{i}", labels, EXACT)


def base_augmentation(case: Case) -> Comparisons:
    augmentation = Augmentation(case.config["crop"], tuple(case.config["scale"]))
    for i, drawn in enumerate(case.config["cases"]):
        image, label = (case.tensors[f"in.{name}_{i}"].numpy() for name in ("image", "label"))
        rng = random.Random(drawn["seed"])
        changed, labels = augmentation(image, label.astype(np.uint8), rng)
        if "next_random_after" in drawn:
            yield equal(f"{i}: draws", rng.random(), drawn["next_random_after"])
        yield alike(case, f"out.image_{i}", normalise(torch.from_numpy(changed)))
        yield few_differ(case, f"out.label_{i}", torch.from_numpy(labels))


def alike(case: Case, name: str, image: Tensor) -> Comparison | None:
    """Compare an image: 0.02 on the mean, 99 % of the values within 0.06."""
    if name not in case.tensors or image.shape != case.tensors[name].shape:
        return case.compare(name, image, EXACT)
    difference = (image - case.tensors[name]).abs()
    good = float(difference.mean()) <= 0.02 and float((difference <= 0.06).float().mean()) >= 0.99
    return case.compare(
        name, image, Tolerance("mean 0.02, 99 % within 0.06", lambda ref: float("inf") if good else 0.0)
    )


def few_differ(case: Case, name: str, labels: Tensor) -> Comparison | None:
    """Compare labels, of which 0.5 % may differ."""
    if name not in case.tensors or labels.shape != case.tensors[name].shape:
        return case.compare(name, labels, EXACT)
    good = float((labels != case.tensors[name]).double().mean()) <= 0.005
    return case.compare(name, labels, Tolerance("0.5 % of the pixels", lambda ref: float("inf") if good else 0.0))


def pspnet_step(case: Case) -> Comparisons:
    c, tolerance = case.config, relative(1e-5)
    kind = "vgg16" if c["backbone"].startswith("vgg16") else "resnet50"
    model = PSPNet(kind, c["classes"] - 1)
    own = {name: _released(name) for name in model.state_dict()}
    shapes = {own[name]: v.shape for name, v in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    state = hash_state(shapes)
    model.load_state_dict({name: state[own[name]] for name in own if own[name] in state}, strict=False)
    model.double().train()
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    order = sorted(start, key=own.__getitem__)
    optimizer = sgd(model, c["base_lr"], c["index_split"], c["momentum"], c["weight_decay"])
    schedule = poly_schedule(optimizer, c["max_iter"], c.get("power", 0.9))
    images = (c["processes"] * c["batch_per_process"], 3, c["size"], c["size"])
    for step, iteration in enumerate(c["iterations"]):
        for group, rate, factor in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
            group["lr"] = rate * factor(iteration - 1)
        features = model(hash_values(c["tag"] + step, images, -2.0, 2.0).double()).f4
        assert features is not None
        keep = case.tensors[f"in.step{step}.keep"].double()[:, :, None, None]  # stored coins in place of random ones
        logits = model.base_learner[2](torch.relu(features) * keep / KEPT)
        yield case.compare(f"mid.step{step}.logits", logits, tolerance)
        labels = case.tensors[f"in.step{step}.label"]
        shares = zip(logits.split(c["batch_per_process"]), labels.split(c["batch_per_process"]), strict=True)
        loss = torch.stack([pixel_loss(own_logits, own_labels) for own_logits, own_labels in shares]).mean()
        yield case.compare(f"out.step{step}.loss", loss[None], tolerance)
        optimizer.zero_grad()
        loss.backward()
        weights = dict(model.named_parameters())
        norms = torch.stack([weights[name].grad.norm() for name in order])
        yield case.compare(f"mid.step{step}.grad_l2", norms, tolerance)
        optimizer.step()
    change = {own[name]: (weights[name] - start[name]).detach() for name in order}
    yield case.compare("out.delta_l2", torch.stack([v.norm() for v in change.values()]), tolerance)
    for name, moved in change.items():
        yield case.compare(f"out.first16.{name}", moved.flatten()[:16], tolerance)
    buffers = {own[name]: value for name, value in model.named_buffers()}
    for kind, bound in (("running_mean", tolerance), ("running_var", tolerance), ("num_batches_tracked", EXACT)):
        found = [buffers[name].flatten() for name in sorted(buffers) if name.endswith(f".{kind}")]
        yield case.compare(f"out.{kind}", torch.cat(found), bound)


def _released(name: str) -> str:
    """Return the name of a weight in a checkpoint of PSPNet alone."""
    return name.replace("base_learner.2.", "cls.4.")


def base_validation(case: Case) -> Comparisons:
    n = case.config["classes"] - 1
    counts = torch.zeros(n + 1, 6, dtype=torch.int64)
    for i in _numbers(case, "in.logits_"):
        labels = case.tensors[f"in.label_{i}"]
        for found, truth in zip(label_map(case.tensors[f"in.logits_{i}"], labels.shape[-1]), labels, strict=True):
            counts += count(found, truth, n)
    intersection, union = intersection_union(counts.numpy()[1:], "ignore")
    background = background_intersection_union(counts.numpy()[0], "ignore")
    yield case.compare("out.intersection", np.append(background[0], intersection), EXACT)
    yield case.compare("out.union", np.append(background[1], union), EXACT)
    yield case.compare("out.iou", intersection / np.maximum(union, 1), absolute(1e-6))
    yield case.compare("out.miou", mean_iou(intersection, union)[None] / 100, absolute(1e-6))


KINDS = {
    "base_labels": base_labels,
    "base_rates": base_rates,
    "padded_resize": padded_resize,
    "base_augmentation": base_augmentation,
    "pspnet_step": pspnet_step,
    "base_validation": base_validation,
}
