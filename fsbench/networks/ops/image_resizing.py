"""Resizing of images as tensor operations, for graphs that leave the suite: the rules of `fsbench.data.transforms`.

Sizes of images may be symbolic, so no step depends on them in Python.

Shapes: H W an image of any size, S side of the square.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

BITS = 22
"""Bits of PIL's weights: they are multiples of 2^-22, and each pass rounds to 8 bits."""


def triangle_weights(length: int, size: int) -> Tensor:
    """Return PIL's bilinear weights (size, length) float64 for resizing `length` pixels to `size`, in units of 2^-22.

    Each row is a triangle as wide as an output pixel, but at least as wide as an input pixel, divided by its sum and
    rounded.
    """
    scale = torch.full((), length, dtype=torch.float64) / size
    reach = scale.clamp(min=1.0)
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    position = torch.arange(length, dtype=torch.float64)
    weight = (1.0 - ((position - centre[:, None] + 0.5) * (1.0 / reach)).abs()).clamp(min=0.0)
    return (weight / weight.sum(1, keepdim=True) * 2**BITS + 0.5).floor()


def resize_as_pil(image: Tensor, size: int) -> Tensor:
    """Resize an image (H, W, 3) uint8 to (3, S, S) float32 of whole numbers, bit for bit as PIL does bilinearly.

    S is `size`. Width is resized first; sums of whole numbers below 2^31 are exact in float64.
    """
    planes = image.permute(2, 0, 1).double()
    rows = _to_bytes(planes @ triangle_weights(image.shape[1], size).mT)
    return _to_bytes(triangle_weights(image.shape[0], size) @ rows).float()


def _to_bytes(sums: Tensor) -> Tensor:
    return ((sums + 2 ** (BITS - 1)) / 2**BITS).floor().clamp(0, 255)


def resize_as_opencv(image: Tensor, size: int) -> Tensor:
    """Resize an image (H, W, 3) uint8 to (3, S, S) float32 in 0..255, bilinearly without antialiasing, as OpenCV does.

    S is `size`. Columns are resized first, with weights in float32. OpenCV sums in another order, so the last bits
    differ.
    """
    planes = image.permute(2, 0, 1).float()
    for dim, length in ((2, image.shape[1]), (1, image.shape[0])):
        first, second, share = _neighbours(length, size)
        share = share if dim == 2 else share[:, None]
        planes = planes.index_select(dim, first) * (1 - share) + planes.index_select(dim, second) * share
    return planes


def _neighbours(length: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two input pixels of each output pixel, (size,) int64 each, and the share of the second (size,)."""
    scale = torch.full((), length, dtype=torch.float64) / size
    place = ((torch.arange(size, dtype=torch.float64) + 0.5) * scale - 0.5).clamp(min=0.0)
    below = place.floor()
    last = torch.full((), length - 1, dtype=torch.int64)
    first = torch.minimum(below.long(), last)
    return first, torch.minimum(first + 1, last), (place - below).float()


TENSOR_RESIZES: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "pil": resize_as_pil,
    "pil_both": resize_as_pil,
    "cv2": resize_as_opencv,
}
"""Those of `transforms.RESIZES` that a graph can have: images (H, W, 3) uint8 to (3, S, S) float32 in 0..255."""
