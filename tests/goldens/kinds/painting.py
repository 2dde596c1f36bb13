"""Masks painted from the outlines of objects as the field's label maps of COCO were (fscs-protocol §2.2)."""

import numpy as np
import torch

from fsbench.data.painting import fill_outline
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Results


def painted(case: Case) -> Results:
    given = {name: tensor.numpy() for name, tensor in case.tensors.items()}
    outlines = np.split(given["points"], given["polygon_start"][1:-1])
    masks = np.zeros((len(given["object_start"]) - 1, *given["size"]), dtype=np.uint8)
    for mask, first, past in zip(masks, given["object_start"], given["object_start"][1:], strict=False):
        for outline in outlines[first:past]:
            fill_outline(mask, outline, 1)
    return {"out.masks": torch.from_numpy(masks)}


KINDS = {"coco_painting": Kind(painted, inputs=("points", "polygon_start", "object_start", "size"))}
