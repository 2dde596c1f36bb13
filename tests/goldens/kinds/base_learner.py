"""Training and validation of the base learner (hmnet.md §2.4): data, rates, SGD steps, base mIoU."""

import random
from typing import Any

import numpy as np
import torch

from fsbench.core.step_division import StepDivision
from fsbench.data.batch import normalise
from fsbench.data.label_maps import resize_labels_padded, way_labels
from fsbench.data.transforms import resize_padded
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.datamodules.loading.distributed import TrainingBatches
from fsbench.methods.hmnet.base_learner import label_map, pixel_loss, sgd
from fsbench.methods.modules.poly_rate import poly_schedule
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.scores.answers import count
from fsbench.scores.confusion import background_intersection_union, intersection_union, mean_iou
from tests.goldens.harness import EXACT, Case, Kind, Near, Parts, Results, Same, Tolerance, absolute, few, relative
from tests.goldens.hashed import hash_values
from tests.goldens.networks import changes, copies, load_hashed, optimizer_step

DATA_SETS = {"pascal": Pascal, "coco": Coco}
KEPT = 0.9
"""Share of channels that the dropout keeps (§2.3)."""
IMAGES = Tolerance("mean 0.02, 99 % within 0.06", lambda ref: 0.06, share=0.01, mean=0.02)
"""Tolerance of augmented images."""
LABELS = few(0.005)
"""Tolerance of augmented labels."""


def classes_of(config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return base and novel classes of the case's fold; a data set's classes need no files."""
    data_set = DATA_SETS[config["data_set"]]
    index = data_set.__new__(data_set)
    return index.train_classes(config["fold"]), index.test_classes(config["fold"])


def base_labels(case: Case) -> Results:
    base, novel = classes_of(case.config)
    found = {"base_classes": torch.tensor(base), "novel_classes": torch.tensor(novel)}
    if "in.label" in case.tensors:
        found["label"] = torch.from_numpy(way_labels(case.tensors["in.label"].numpy().astype(np.uint8), base))
    return {"out.": found}


def base_rates(case: Case) -> Parts:
    c = case.config
    division = StepDivision(c["processes"] * c["batch_per_process"], c["processes"])
    steps = len(TrainingBatches(c["images"], 0, division, fill_to=c["processes"], drop_last=True))
    for name, found in (("steps_per_epoch", steps), ("max_iter", c["epochs"] * steps)):
        yield {name: found if name in case.data else None}
    with torch.device("meta"):
        optimizer = sgd(PSPNet("resnet50", 1), c["base_lr"], c["index_split"], 0.9, 0.0)
    schedule = poly_schedule(optimizer, c["epochs"] * steps, c.get("power", 0.9))
    for step, *rates in case.data.get("rows", []):
        pairs = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
        yield {f"rates of step {step}": Near([rate * factor(step - 1) for rate, factor in pairs], rates)}


def _numbers(case: Case, prefix: str) -> list[int]:
    return sorted(int(name) for name in case.group(prefix))


def padded_resize(case: Case) -> Parts:
    size = case.config["size"]
    for i in _numbers(case, "in.image_"):
        image = resize_padded(case.tensors[f"in.image_{i}"].numpy(), size)
        yield {f"out.normalised_{i}": normalise(image)}
    for i in _numbers(case, "in.label_"):
        labels = resize_labels_padded(case.tensors[f"in.label_{i}"].numpy().astype(np.uint8), size)
        yield {f"out.label_{i}": labels}


def base_augmentation(case: Case) -> Parts:
    augmentation = Augmentation(case.config["crop"], tuple(case.config["scale"]))
    for i, drawn in enumerate(case.config["cases"]):
        image, label = (case.tensors[f"in.{name}_{i}"].numpy() for name in ("image", "label"))
        rng = random.Random(drawn["seed"])
        changed, labels = augmentation(image, label.astype(np.uint8), rng)
        if "next_random_after" in drawn:
            yield {f"{i}: draws": Same(rng.random(), drawn["next_random_after"])}
        yield {f"out.image_{i}": normalise(torch.from_numpy(changed)), f"out.label_{i}": labels}


def pspnet_step(case: Case) -> Parts:
    c = case.config
    model = PSPNet("vgg16" if c["backbone"].startswith("vgg16") else "resnet50", c["classes"] - 1)
    load_hashed(model, lambda state: {_released(name): value for name, value in state.items()})
    own = {name: _released(name) for name in model.state_dict()}
    model.double().train()
    start = copies(model)
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
        labels = case.tensors[f"in.step{step}.label"]
        shares = zip(logits.split(c["batch_per_process"]), labels.split(c["batch_per_process"]), strict=True)
        loss = torch.stack([pixel_loss(own_logits, own_labels) for own_logits, own_labels in shares]).mean()
        yield {f"mid.step{step}.logits": logits, f"out.step{step}.loss": loss[None]}
        found_gradients = optimizer_step(optimizer, loss, model)
        yield {f"mid.step{step}.grad_l2": torch.stack([found_gradients[name].norm() for name in order])}
    moved = changes(model, start)
    yield {"out.delta_l2": torch.stack([moved[name].norm() for name in order])}
    yield {"out.first16.": {own[name]: moved[name].flatten()[:16] for name in order}}
    buffers = {own[name]: value for name, value in model.named_buffers()}
    for kind in ("running_mean", "running_var", "num_batches_tracked"):
        found = [buffers[name].flatten() for name in sorted(buffers) if name.endswith(f".{kind}")]
        yield {f"out.{kind}": torch.cat(found)}


def _released(name: str) -> str:
    """Return the name of a weight in a checkpoint of PSPNet alone."""
    return name.replace("base_learner.2.", "cls.4.")


def base_validation(case: Case) -> Results:
    n = case.config["classes"] - 1
    counts = np.zeros((n + 1, 6), dtype=np.int64)
    for i in _numbers(case, "in.logits_"):
        labels = case.tensors[f"in.label_{i}"]
        for found, truth in zip(label_map(case.tensors[f"in.logits_{i}"], labels.shape[-1]), labels, strict=True):
            counts += count(found.numpy(), truth.numpy(), n)
    intersection, union = intersection_union(counts[1:], "ignore")
    background = background_intersection_union(counts[0], "ignore")
    return {
        "out.intersection": np.append(background[0], intersection),
        "out.union": np.append(background[1], union),
        "out.iou": intersection / np.maximum(union, 1),
        "out.miou": mean_iou(intersection, union)[None] / 100,
    }


KINDS = {
    "base_labels": Kind(base_labels),
    "base_rates": Kind(base_rates, {"rates": absolute(1e-12)}),
    "padded_resize": Kind(padded_resize, {"out.normalised_": absolute(1e-4)}),
    "base_augmentation": Kind(base_augmentation, {"out.image_": IMAGES, "out.label_": LABELS}),
    "pspnet_step": Kind(pspnet_step, {"": relative(1e-5), "out.num_batches_tracked": EXACT}),
    "base_validation": Kind(base_validation, {"out.iou": absolute(1e-6), "out.miou": absolute(1e-6)}),
}
