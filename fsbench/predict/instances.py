"""Single objects of a prediction at the image's size, as run lengths in COCO's form.

Shapes: (H, W) the image, M objects.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from fsbench.core.prediction import Instances
from fsbench.data.label_maps import resize_labels
from fsbench.data.rle import decode_rle


@dataclass(frozen=True)
class Instance:
    """An object of a class.

    Attributes:
        number: the class's number in the label map.
        score: how sure the method is of the object, from 0 to 1.
        pixels: number of its pixels; some may be another object's of the class, too.
        bbox: x, y, width and height.
        counts: COCO's compressed runs of its mask.
    """

    number: int
    score: float
    pixels: int
    bbox: list[float]
    counts: str

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """Return its mask (H, W) bool in an image of `size`."""
        return decode_rle({"size": list(size), "counts": self.counts}, *size)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Return the box and the run lengths of a mask (H, W) bool that is not empty, as plain values."""
    from pycocotools import mask as coco  # not needed to predict

    runs = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"bbox": coco.toBbox(runs).tolist(), "counts": runs["counts"].decode("ascii")}


def image_instances(instances: Instances, own: np.ndarray, label_map: np.ndarray) -> tuple[Instance, ...]:
    """Bring a prediction's objects to the image's size, by class and descending score; those without pixels are left
    out.

    An object keeps the pixels that its class has in the label map, so that a class's objects have its pixels together.

    Args:
        instances: of the prediction.
        own: (h, w) uint8, the prediction's label map at its own size.
        label_map: (H, W) uint8, the same at the image's size, perhaps without some classes.
    """
    found = []
    for mask, way, score in zip(instances.masks, instances.ways.tolist(), instances.scores.tolist(), strict=True):
        inside = _resized(mask.cpu().numpy(), own.shape[:2]) & (own == way)
        inside = (resize_labels(inside.astype(np.uint8), *label_map.shape) > 0) & (label_map == way)
        if pixels := int(np.count_nonzero(inside)):
            found.append(Instance(way, float(score), pixels, **encode_mask(inside)))
    return tuple(sorted(found, key=lambda one: (one.number, -one.score)))


def _resized(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize a mask to (h, w) so that no pixel is lost, whichever way label maps were resized: bilinear or nearest."""
    if mask.shape == size:
        return mask
    height, width = size
    shares = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    nearest = resize_labels(mask.astype(np.uint8), height, width)
    return np.asarray((shares > 0) | (nearest > 0))
