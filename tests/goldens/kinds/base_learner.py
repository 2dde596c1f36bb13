"""Training and validation of the base learner (hmnet.md §2.4): data, rates, SGD steps, base mIoU."""

from typing import Any

import numpy as np
import torch

from fsbench.data.batch import normalise
from fsbench.data.label_maps import resize_labels_padded, way_labels
from fsbench.data.transforms import resize_padded
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.loading.augment import Augmentation
from fsbench.datamodules.loading.distributed import TrainingBatches
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.methods.hmnet.base_learner import label_map, pixel_loss, sgd
from fsbench.methods.modules.poly_rate import poly_schedule
from fsbench.methods.modules.pspnet import PSPNet
from fsbench.scores.answers import count
from fsbench.scores.confusion import background_intersection_union, intersection_union, mean_iou
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Near, Parts, Results, absolute, relative
from tests.goldens.hashed import hash_values
from tests.goldens.prior_guided import augmentations

DATA_SETS = {"pascal": Pascal, "coco": Coco}
KEPT = 0.9
"""Share of channels that the dropout keeps (§2.3)."""
IMAGES = absolute(1e-4)
"""Tolerance of augmented images."""


def classes_of(config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return base and novel classes of the case's fold; a data set's classes need no files."""
    data_set = DATA_SETS[config["data_set"]]
    data = data_set.__new__(data_set)
    return data.train_classes(config["fold"]), data.test_classes(config["fold"])


def base_labels(case: Case) -> Results:
    base, novel = classes_of(case.config)
    found = {"base_classes": torch.tensor(base), "novel_classes": torch.tensor(novel)}
    if "in.label" in case.tensors:
        found["label"] = torch.from_numpy(way_labels(case.tensors["in.label"].numpy().astype(np.uint8), base))
    return {"out.": found}


def base_rates(
    case: Case, processes: int, batch_per_process: int, images: int, epochs: int, base_lr: float, index_split: int,
    power: float = 0.9,
) -> Parts:  # fmt: skip
    division = StepDivision(processes * batch_per_process, processes)
    steps = len(TrainingBatches(images, 0, division, fill_to=processes, drop_last=True))
    for name, found in (("steps_per_epoch", steps), ("max_iter", epochs * steps)):
        yield {name: found if name in case.data else None}
    with torch.device("meta"):
        optimizer = sgd(PSPNet("resnet50", 1), base_lr, index_split, 0.9, 0.0)
    schedule = poly_schedule(optimizer, epochs * steps, power)
    for step, *rates in case.data.get("rows", []):
        yield {f"rates of step {step}": Near(n.set_rates(optimizer, schedule, step - 1), rates)}


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


def base_augmentation(case: Case, crop: int, scale: list[float], cases: list[Any]) -> Parts:
    return augmentations(case, Augmentation(crop, tuple(scale)), cases)  # type: ignore[arg-type]


def pspnet_step(
    case: Case, backbone: str, classes: int, processes: int, batch_per_process: int, size: int, tag: int,
    iterations: list[int], max_iter: int, base_lr: float, index_split: int, momentum: float, weight_decay: float,
    power: float = 0.9,
) -> Parts:  # fmt: skip
    model = PSPNet("vgg16" if backbone.startswith("vgg16") else "resnet50", classes - 1)
    n.load_hashed(model, lambda state: {_released(name): value for name, value in state.items()})
    model.double().train()
    start = n.copies(model)
    order = sorted(start, key=_released)
    optimizer = sgd(model, base_lr, index_split, momentum, weight_decay)
    schedule = poly_schedule(optimizer, max_iter, power)
    for step, iteration in enumerate(iterations):
        n.set_rates(optimizer, schedule, iteration - 1)
        images = hash_values(tag + step, (processes * batch_per_process, 3, size, size), -2.0, 2.0).double()
        features = model(images).f4
        assert features is not None
        keep = case.tensors[f"in.step{step}.keep"].double()[:, :, None, None]  # stored coins in place of random ones
        logits = model.base_learner[2](torch.relu(features) * keep / KEPT)
        labels = case.tensors[f"in.step{step}.label"]
        shares = zip(logits.split(batch_per_process), labels.split(batch_per_process), strict=True)
        loss = torch.stack([pixel_loss(own_logits, own_labels) for own_logits, own_labels in shares]).mean()
        yield {f"mid.step{step}.logits": logits, f"out.step{step}.loss": loss[None]}
        yield {f"mid.step{step}.grad_l2": n.lengths(n.optimizer_step(optimizer, loss, model), order)}
    moved = n.changes(model, start)
    yield {
        "out.delta_l2": n.lengths(moved, order),
        "out.first16.": {_released(name): moved[name].flatten()[:16] for name in order},
        "out.": n.buffers_by_kind(model, _released),
    }


def _released(name: str) -> str:
    """Return the name of a weight in a checkpoint of PSPNet alone."""
    return name.replace("base_learner.2.", "cls.4.")


def base_validation(case: Case, classes: int) -> Results:
    counts = np.zeros((classes, 6), dtype=np.int64)
    for i in _numbers(case, "in.logits_"):
        labels = case.tensors[f"in.label_{i}"]
        for found, truth in zip(label_map(case.tensors[f"in.logits_{i}"], labels.shape[-1]), labels, strict=True):
            counts += count(found.numpy(), truth.numpy(), classes - 1)
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
    "base_augmentation": Kind(base_augmentation, {"out.image_": IMAGES}),
    "pspnet_step": Kind(pspnet_step, {"": relative(1e-5), "out.num_batches_tracked": EXACT}),
    "base_validation": Kind(base_validation, {"out.iou": absolute(1e-6), "out.miou": absolute(1e-6)}),
}
