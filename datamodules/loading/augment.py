"""Random changes of training images, as PFENet, BAM and HMNet make them (hmnet.md §10.1), and weak labels (§11.4).

Images are RGB float32 0..255 (h, w, 3), labels uint8 (h, w). Every function draws from a `random.Random` in the
authors' order, so that their seeds give their images.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from fsbench.data.batch import IMAGENET_MEAN
from fsbench.data.dataset import VOID

LabelledImage = tuple[np.ndarray, np.ndarray]
"""Image and label map."""
Transform = Callable[[np.ndarray, np.ndarray, random.Random], LabelledImage]

MEAN = tuple(255 * value for value in IMAGENET_MEAN)
FOREGROUND_SHARE = 0.85
"""Share of the foreground that a crop should keep."""
TRIES = 30


@dataclass(frozen=True)
class Scale:
    """Resize by a factor drawn uniformly from `factors`."""

    factors: tuple[float, float] = (0.9, 1.1)

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        low, high = self.factors
        factor = low + (high - low) * rng.random()
        return (
            cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR),
            cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST),
        )


@dataclass(frozen=True)
class Rotate:
    """Rotate every second image by an angle drawn uniformly from ±`degrees`; corners become mean colour and void."""

    degrees: float = 10.0

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        if rng.random() >= 0.5:
            return image, label
        angle = -self.degrees + 2 * self.degrees * rng.random()
        height, width = label.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
        border = cv2.BORDER_CONSTANT
        return (
            cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=MEAN),
            cv2.warpAffine(
                label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=border, borderValue=(VOID,)
            ),
        )


def blur(image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
    """Blur every second image with a 5 x 5 Gaussian."""
    return (cv2.GaussianBlur(image, (5, 5), 0) if rng.random() < 0.5 else image), label


def flip(image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
    """Flip every second image left to right."""
    return (cv2.flip(image, 1), cv2.flip(label, 1)) if rng.random() < 0.5 else (image, label)


@dataclass(frozen=True)
class Crop:
    """A square of `side`, padded with mean colour and void where the image is smaller; drawn again, up to 31 times,
    while it keeps too little of the foreground (label 1). The last one is kept in any case."""

    side: int

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        height, width = (max(self.side - n, 0) for n in label.shape)
        if height or width:
            edges = (height // 2, height - height // 2, width // 2, width - width // 2)
            image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=MEAN)
            label = cv2.copyMakeBorder(label, *edges, cv2.BORDER_CONSTANT, value=(VOID,))
        whole = np.count_nonzero(label == 1)
        for attempt in range(TRIES + 2):
            top, left = (rng.randint(0, n - self.side) for n in label.shape)
            rows, columns = slice(top, top + self.side), slice(left, left + self.side)
            kept = np.count_nonzero(label[rows, columns] == 1)
            if attempt > TRIES or whole == 0 or kept / whole >= FOREGROUND_SHARE:
                break
        return image[rows, columns], label[rows, columns]


@dataclass(frozen=True)
class Augmentation:
    """The random changes of training crops of `side`; `factors` are 0.9..1.1 for PASCAL, 0.8..1.25 for COCO."""

    side: int
    factors: tuple[float, float] = (0.9, 1.1)
    steps: tuple[Transform, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", (Scale(self.factors), Rotate(), blur, flip, Crop(self.side)))

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        """RGB uint8 or float32 (h, w, 3) and label (h, w) of any size -> both of `side` x `side`, image float32."""
        image = image.astype(np.float32)
        for step in self.steps:
            image, label = step(image, label, rng)
        return np.ascontiguousarray(image), np.ascontiguousarray(label)


def bounding_boxes(label: np.ndarray) -> np.ndarray:
    """Fill label (h, w) with foreground 1: every 8-connected piece of it becomes its bounding box, one pixel beyond
    on the right and below, as the authors draw it; void stays on top (§11.4)."""
    mask = (label == 1).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    filled = np.zeros_like(label)
    for left, top, width, height, _ in boxes[1:]:
        filled[top : top + height + 1, left : left + width + 1] = 1
    filled[label == VOID] = VOID
    return filled
