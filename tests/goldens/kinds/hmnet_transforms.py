"""HMNet's transforms of images and labels, and labels of bounding boxes (hmnet.md §10.1, §11.4)."""

import random

import numpy as np
import torch

from datamodules.loading.augment import Augmentation, Crop, Rotate, Scale, blur, flip
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.data.label_maps import bounding_boxes
from fsbench.data.transforms import resize_image_cv2, resize_labels_cv2
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Tolerance, absolute, equal

IMAGES = {"blur": 0.2, "rotate": 3.0, "train_pipeline": 0.06}
"""Tolerances; the others are 1e-3."""


def transforms(case: Case) -> Comparisons:
    image, label = (case.tensors[f"in.{name}"].numpy() for name in ("image", "label"))
    image, label = image.astype(np.float32), label.astype(np.uint8)
    for name, c in case.config.items():
        if not {f"out.{name}_image", f"out.{name}_label"} & case.tensors.keys():
            continue
        if name in ("resize", "val_pipeline"):
            side = c["size"] if "size" in c else c["shape"][0]
            found = resize_image_cv2(image, side).permute(1, 2, 0).numpy(), resize_labels_cv2(label, side, side)
        else:
            rng = random.Random(c["seed"])
            if name == "train_pipeline":
                planes, changed = Augmentation(c["crop"], tuple(c["scale"]))(image, label, rng)
                found = planes.transpose(1, 2, 0), changed
            else:
                single = {"scale": Scale(tuple(c.get("scale", ()))), "rotate": Rotate(), "blur": blur, "flip": flip}
                found = (single.get(name) or Crop(c["shape"][0]))(image, label, rng)
            yield equal(f"{name}: draws", rng.random(), c["next_random_after"])
        picture = torch.from_numpy(np.ascontiguousarray(found[0]))
        if name.endswith("pipeline"):
            mean, std = (255 * torch.tensor(v) for v in (IMAGENET_MEAN, IMAGENET_STD))
            picture = ((picture - mean) / std).permute(2, 0, 1)
        yield case.compare(f"out.{name}_image", picture, absolute(IMAGES.get(name, 1e-3)))
        yield _labels(case, f"out.{name}_label", found[1], 5 if name == "train_pipeline" else 0)
    if "in.bbox_mask" not in case.tensors:
        return
    boxes = bounding_boxes(case.tensors["in.bbox_mask"].numpy().astype(np.uint8))
    yield _labels(case, "out.bbox_label", boxes, 0)


def _labels(case: Case, name: str, label: np.ndarray, pixels: int) -> Comparison | None:
    """Compare labels, of which at most `pixels` may differ."""
    if name not in case.tensors:
        return None
    found = torch.from_numpy(np.ascontiguousarray(label)).double()
    differ = int((found != case.tensors[name].double()).sum())
    tolerance = EXACT if differ > pixels else Tolerance(f"{pixels} pixels", lambda ref: float("inf"))
    return case.compare(name, found, tolerance)


KINDS = {"transforms": transforms}
