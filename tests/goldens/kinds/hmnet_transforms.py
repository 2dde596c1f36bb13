"""HMNet's transforms of images and labels, and labels of bounding boxes (hmnet.md §10.1, §11.4)."""

import random

import numpy as np
import torch

from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.data.connected import bounding_boxes
from fsbench.data.label_maps import resize_labels_cv2
from fsbench.data.transforms import resize_image_cv2
from fsbench.datamodules.loading.augment import Augmentation, Crop, Rotate, Scale, blur, flip
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Same, absolute


def transforms(case: Case) -> Parts:
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
            yield {f"{name}: draws": Same(rng.random(), c["next_random_after"])}
        picture = torch.from_numpy(np.ascontiguousarray(found[0]))
        if name.endswith("pipeline"):
            mean, std = (255 * torch.tensor(v) for v in (IMAGENET_MEAN, IMAGENET_STD))
            picture = ((picture - mean) / std).permute(2, 0, 1)
        yield {f"out.{name}_image": picture, f"out.{name}_label": np.ascontiguousarray(found[1])}
    if "in.bbox_mask" in case.tensors:
        yield {"out.bbox_label": bounding_boxes(case.tensors["in.bbox_mask"].numpy().astype(np.uint8))}


KINDS = {"transforms": Kind(transforms, {"*_image": absolute(1e-3)})}
