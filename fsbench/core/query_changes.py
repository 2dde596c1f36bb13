"""Random changes by which IFA makes a query of a labelled support (ifa.md §7).

They are those of the library albumentations at its usual values, written down here since it has no more maintainer.
Images are RGB uint8 (H, W, 3), labels uint8 (H, W).
"""

import random
from dataclasses import dataclass

import cv2
import numpy as np

from fsbench.base.errors import SettingsError

CONTRAST = BRIGHTNESS = 0.2
HUE, SATURATION, VALUE = 20.0, 30.0, 20.0
"""Limits of the shifts, drawn uniformly up to them in both directions; hue has 180 steps."""


@dataclass(frozen=True)
class QueryChanges:
    """Random changes of a query: flips, quarter turns, maybe shuffled quadrants, then brightness and colour.

    Attributes:
        flip: probability of a horizontal flip, and of a vertical flip.
        shuffle: whether the quadrants are shuffled.
    """

    flip: float = 0.5
    shuffle: bool = False

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
        """Change an image (H, W, 3) with its labels (H, W); draws depend on no pixel.

        Raises SettingsError for an image that is not uint8.
        """
        if image.dtype != np.uint8:
            raise SettingsError(
                f"the method adapts itself to images whose colours are changed, and those of {image.dtype} images are "
                "none, expected 8 bits; leave --data.input_resize intensities out, or choose another method"
            )
        for axis in (1, 0):
            if rng.random() < self.flip:
                image, label = np.flip(image, axis), np.flip(label, axis)
        if rng.random() < 0.5:
            quarters = rng.randrange(4)
            image, label = np.rot90(image, quarters), np.rot90(label, quarters)
        if self.shuffle:
            order = rng.sample(range(4), 4)
            image, label = shuffle_quadrants(image, order), shuffle_quadrants(label, order)
        image = np.ascontiguousarray(image)
        if rng.random() < 0.5:
            contrast, brightness = 1 + rng.uniform(-CONTRAST, CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
            image = _rounded(image.astype(np.float32) * contrast + 255 * brightness)
        hue, saturation, value = (rng.uniform(-limit, limit) for limit in (HUE, SATURATION, VALUE))
        return shift_colours(image, hue, saturation, value), np.ascontiguousarray(label)


def shuffle_quadrants(pixels: np.ndarray, order: list[int]) -> np.ndarray:
    """Return pixels (H, W, ...) with quadrant `order[i]` moved to quadrant i; quadrants are numbered row by row.

    Quadrants of odd sides differ in size: each is cut to the smallest one's size, and pixels beyond these cuts stay
    where they are.

    >>> shuffle_quadrants(np.array([[1, 2], [3, 4]]), [3, 2, 1, 0]).tolist()
    [[4, 3], [2, 1]]
    """
    height, width = (side // 2 for side in pixels.shape[:2])
    places = [(y, x) for y in (0, pixels.shape[0] - height) for x in (0, pixels.shape[1] - width)]
    shuffled = pixels.copy()
    for (y, x), source in zip(places, order, strict=True):
        top, left = places[source]
        shuffled[y : y + height, x : x + width] = pixels[top : top + height, left : left + width]
    return shuffled


def shift_colours(image: np.ndarray, hue: float, saturation: float, value: float) -> np.ndarray:
    """Shift the colours of an image (H, W, 3) RGB uint8; the result has the same shape and type.

    Args:
        image: the image.
        hue: added to the hue, in steps of 2 degrees (180 in all); the sum wraps.
        saturation: added to the saturation, which is clipped to 0..255.
        value: added to the value (brightness), which is clipped to 0..255.
    """
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    planes[..., 0] = np.mod(np.rint(planes[..., 0] + hue), 180)
    planes[..., 1:] += np.array([saturation, value], dtype=np.float32)
    return np.asarray(cv2.cvtColor(_rounded(planes), cv2.COLOR_HSV2RGB))


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
