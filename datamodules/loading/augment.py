"""Random changes of training images, as PFENet, BAM and HMNet make them (hmnet.md §10.1), and weak labels (§11.4).

Images are RGB float32 0..255 (h, w, 3), labels uint8 (h, w). Every function draws from a `random.Random` in the
authors' order, so that their seeds give their images.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import cv2
import numpy as np

from fsbench.data.batch import IMAGENET_MEAN
from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels_cv2
from fsbench.data.warping import resize_by_opencv, scale, warp
from fsbench.datamodules.loading.scratch import Scratch

LabelledImage = tuple[np.ndarray, np.ndarray]
"""Image and label map."""

SCALE_FACTORS = {
    "pascal": (0.9, 1.1), "coco": (0.8, 1.25), "base_learner": (0.5, 2.0), "pascal_resized": (0.9, 1.1),
    "coco_resized": (0.8, 1.25),
}  # fmt: skip
"""Range of the random scale of training images, by the name of an augmentation (hmnet.md §10.1, §2.4.2; hdmnet.md §8).
"""
MEAN = tuple(255 * value for value in IMAGENET_MEAN)
FOREGROUND_SHARE = 0.85
"""Share of the foreground that a crop should keep."""
TRIES = 30


@dataclass(frozen=True)
class Scale:
    """Random change that resizes an image by a factor drawn uniformly from `factors` (least, largest)."""

    factors: tuple[float, float] = (0.9, 1.1)

    def draw(self, rng: random.Random) -> float:
        """Draw the factor by which the image is resized."""
        low, high = self.factors
        return low + (high - low) * rng.random()

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        factor = self.draw(rng)
        return scale(image, factor, cv2.INTER_LINEAR), scale(label, factor, cv2.INTER_NEAREST)


@dataclass(frozen=True)
class Rotate:
    """Random change that rotates every second image by an angle from ±`degrees`; corners get mean colour and void."""

    degrees: float = 10.0

    def draw(self, rng: random.Random) -> float | None:
        """Draw an angle in degrees; None for an image that is not rotated."""
        return -self.degrees + 2 * self.degrees * rng.random() if rng.random() < 0.5 else None

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        angle = self.draw(rng)
        if angle is None:
            return image, label
        return rotate(image, angle, cv2.INTER_LINEAR, MEAN), rotate(label, angle, cv2.INTER_NEAREST, (VOID,))


def rotate(
    pixels: np.ndarray, angle: float, interpolation: int, corners: tuple[float, ...], out: np.ndarray | None = None
) -> np.ndarray:
    """Rotate an image (h, w, ...) by an angle about its middle.

    Args:
        pixels: the image.
        angle: in degrees.
        interpolation: `cv2.INTER_LINEAR` or `cv2.INTER_NEAREST`.
        corners: value of each channel for pixels that come from outside the image.
        out: array to write to; only as many rows and columns of the result as it has are computed.
    """
    height, width = pixels.shape[:2]
    rows, columns = pixels.shape[:2] if out is None else out.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    return warp(pixels, matrix, (rows, columns), interpolation, corners, out)


def blur(image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
    """Blur the image (h, w, 3) with a 5 x 5 Gaussian with probability 1/2; return image and label."""
    return (cv2.GaussianBlur(image, (5, 5), 0) if rng.random() < 0.5 else image), label


def flip(image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
    """Flip image and label left to right with probability 1/2; return both."""
    return (cv2.flip(image, 1), cv2.flip(label, 1)) if rng.random() < 0.5 else (image, label)


@dataclass(frozen=True)
class Crop:
    """A random square crop of `side`, padded with mean colour and void where the image is smaller.

    While the crop keeps too little of the foreground (label 1), its position is drawn again, up to 31 times; the last
    crop is kept in any case.
    """

    side: int

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        edges = self.edges(label)
        if any(edges):
            image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT, value=MEAN)
        label, y, x = self.draw(label, rng)
        return image[y : y + self.side, x : x + self.side], label

    def edges(self, label: np.ndarray) -> tuple[int, int, int, int]:
        """Return how many pixels of padding a label map needs at the top, bottom, left and right."""
        height, width = (max(self.side - n, 0) for n in label.shape)
        return height // 2, height - height // 2, width // 2, width - width // 2

    def draw(self, label: np.ndarray, rng: random.Random) -> tuple[np.ndarray, int, int]:
        """Draw the crop's position; return the cropped labels (side, side), and top and left in the padded image."""
        label = self._padded(label)
        foreground = label == 1
        whole = np.count_nonzero(foreground)
        for attempt in range(TRIES + 2):
            top, left = (rng.randint(0, n - self.side) for n in label.shape)
            rows, columns = slice(top, top + self.side), slice(left, left + self.side)
            if attempt > TRIES or whole == 0:
                break
            if np.count_nonzero(foreground[rows, columns]) / whole >= FOREGROUND_SHARE:
                break
        return label[rows, columns], top, left

    def at(self, label: np.ndarray, top: int, left: int) -> np.ndarray:
        """Return the crop of another label map of the same image, at a position that `draw` returned."""
        return self._padded(label)[top : top + self.side, left : left + self.side]

    def _padded(self, label: np.ndarray) -> np.ndarray:
        edges = self.edges(label)
        return (
            np.asarray(cv2.copyMakeBorder(label, *edges, cv2.BORDER_CONSTANT, value=(VOID,))) if any(edges) else label
        )


@dataclass(frozen=True)
class Squash:
    """Change that resizes the whole image to a square of `side` pixels, ignoring its aspect; nothing is random."""

    side: int

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
        return self.image(image), self.labels(label)

    def image(self, image: np.ndarray) -> np.ndarray:
        """Return an image (h, w, 3) resized bilinearly to (side, side, 3)."""
        return resize_by_opencv(image, self.side, self.side)

    def labels(self, label: np.ndarray) -> np.ndarray:
        """Return a label map (h, w) resized to (side, side) by nearest pixels."""
        return resize_labels_cv2(label, self.side, self.side)


_scratch = Scratch()

_MARGIN = 2
"""Pixels around the crop that the blur reads."""
_TOGETHER = 64
"""A multiple of the columns that OpenCV computes at a time; those left over at a row's end are rounded otherwise."""


@dataclass(frozen=True)
class Draws:
    """Random numbers drawn for the changes of one training image, except the position of its crop.

    Attributes:
        factor: factor by which the image is resized.
        angle: angle in degrees by which the image is rotated; None for no rotation.
        blurred: whether the image is blurred.
        flipped: whether the image is flipped left to right.
    """

    factor: float
    angle: float | None
    blurred: bool
    flipped: bool

    @classmethod
    def of_image(cls, factors: tuple[float, float], rng: random.Random) -> "Draws":
        """Draw the changes of one training image, in the order in which the authors' program draws them.

        Args:
            factors: least and largest factor by which the image may be resized.
            rng: the random generator.
        """
        factor, angle = Scale(factors).draw(rng), Rotate().draw(rng)
        return cls(factor, angle, rng.random() < 0.5, rng.random() < 0.5)

    def labels(self, label: np.ndarray) -> np.ndarray:
        """Return a label map (h, w) after the drawn changes of size, rotation and flip."""
        label = scale(label, self.factor, cv2.INTER_NEAREST)
        if self.angle is not None:
            label = rotate(label, self.angle, cv2.INTER_NEAREST, (VOID,))
        return np.asarray(cv2.flip(label, 1)) if self.flipped else label

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Return an image (h, w, 3) float32 after the drawn changes."""
        image = scale(image, self.factor, cv2.INTER_LINEAR)
        if self.angle is not None:
            image = rotate(image, self.angle, cv2.INTER_LINEAR, MEAN)
        if self.blurred:
            image = np.asarray(cv2.GaussianBlur(image, (5, 5), 0))
        return np.asarray(cv2.flip(image, 1)) if self.flipped else image


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image (size, rotation, blur, flip), ending in a crop of `side`.

    The factor of the size is drawn between the two `factors`: 0.9 and 1.1 for PASCAL, 0.8 and 1.25 for COCO.
    """

    side: int
    factors: tuple[float, float] = (0.9, 1.1)

    def __call__(
        self, image: np.ndarray, label: np.ndarray, rng: random.Random, out: np.ndarray | None = None
    ) -> LabelledImage:
        """Scale, rotate, blur and flip an image, each by chance, and cut the crop.

        No draw depends on the colours, so the labels go first, and the image is written once into its planes.

        Args:
            image: RGB uint8 or float32 (h, w, 3) of any size.
            label: (h, w) uint8.
            rng: what is drawn from.
            out: (3, side, side) float32 that the planes are written into; None for fresh memory.

        Returns:
            Planes (3, side, side) float32, and labels (side, side) uint8.
        """
        planes, label, _ = self.with_more(image, label, (), rng, out)
        return planes, label

    def with_more(
        self,
        image: np.ndarray,
        label: np.ndarray,
        more: Sequence[np.ndarray],
        rng: random.Random,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Apply the same random changes to an image and several label maps; `label` decides on the crop (bam.md §8).

        Args:
            image: (h, w, 3) pixels, uint8 or float32.
            label: (h, w) uint8, 1 foreground; a crop that keeps too little of it is drawn again.
            more: further label maps (h, w) uint8.
            rng: the random generator.
            out: array (3, side, side) float32 to write the image to; None for a new one.

        Returns:
            The image (3, side, side) float32, its label (side, side) uint8, and a list of the maps `more`, each (side,
            side) uint8.
        """
        drawn, crop = Draws.of_image(self.factors, rng), Crop(self.side)
        factor, angle, flipped = drawn.factor, drawn.angle, drawn.flipped
        label = drawn.labels(label)
        height, width = label.shape
        above, _, before, _ = crop.edges(label)
        label, top, left = crop.draw(label, rng)
        others = [np.ascontiguousarray(crop.at(drawn.labels(other), top, left)) for other in more]
        top, left = top - above, left - before
        if flipped:
            left = width - left - self.side  # of the image as it is; its planes are flipped at the end
        rows = min(top + self.side + _MARGIN, height)
        columns = min(math.ceil((left + self.side + _MARGIN) / _TOGETHER) * _TOGETHER, width)

        buffers = cycle(("even", "odd"))  # each step reads one and writes the other

        def buffer(rows: int, columns: int, channels: int) -> np.ndarray:
            return _scratch.array(next(buffers), (rows, columns, channels), np.float32)

        pixels = buffer(*image.shape)
        np.copyto(pixels, image)
        pixels = scale(pixels, factor, cv2.INTER_LINEAR, buffer(height, width, 3))
        if angle is not None:
            pixels = rotate(pixels, angle, cv2.INTER_LINEAR, MEAN, buffer(rows, columns, 3))
        if drawn.blurred:
            first = max(top - _MARGIN, 0)
            pixels, top = pixels[first:rows, :columns], top - first
            pixels = np.asarray(cv2.GaussianBlur(pixels, (5, 5), 0, buffer(*pixels.shape)))
        planes = np.empty((3, self.side, self.side), np.float32) if out is None else out
        _write_planes(planes, pixels, top, left)
        if flipped:
            for plane in planes:
                cv2.flip(plane, 1, plane)
        return planes, np.ascontiguousarray(label), others


@dataclass(frozen=True)
class ResizedAugmentation(Augmentation):
    """Random changes of a training image, which is then resized to a square instead of cropped (hdmnet.md §8)."""

    def with_more(
        self,
        image: np.ndarray,
        label: np.ndarray,
        more: Sequence[np.ndarray],
        rng: random.Random,
        out: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Apply the same random changes to an image and several label maps, and resize all to a square.

        Args:
            image: (h, w, 3) pixels, uint8 or float32.
            label: (h, w) uint8.
            more: further label maps (h, w) uint8.
            rng: the random generator.
            out: array (3, side, side) float32 to write the image to; None for a new one.

        Returns:
            The image (3, side, side) float32, its label (side, side) uint8, and a list of the maps `more`, each (side,
            side) uint8.
        """
        drawn, squash = Draws.of_image(self.factors, rng), Squash(self.side)
        pixels = squash.image(drawn.pixels(image.astype(np.float32)))
        planes = np.empty((3, self.side, self.side), np.float32) if out is None else out
        planes[:] = pixels.transpose(2, 0, 1)
        first, *others = (squash.labels(drawn.labels(one)) for one in (label, *more))
        return planes, first, others


def _write_planes(planes: np.ndarray, pixels: np.ndarray, top: int, left: int) -> None:
    """Copy the square at (top, left) of pixels (h, w, 3) into planes (3, side, side); mean colour where it sticks
    out."""
    side, above, before = planes.shape[1], max(-top, 0), max(-left, 0)
    inside = pixels[max(top, 0) :, max(left, 0) :][: side - above, : side - before]
    below, after = above + inside.shape[0], before + inside.shape[1]
    mean = np.array(MEAN, np.float32)[:, None, None]
    planes[:, :above] = planes[:, below:] = planes[:, above:below, :before] = planes[:, above:below, after:] = mean
    cv2.mixChannels([inside], [plane[above:below, before:after] for plane in planes], [0, 0, 1, 1, 2, 2])


def named_augmentation(name: str, side: int) -> Augmentation | None:
    """Return the random changes of training images of this name, for squares of `side`; None for "none"."""
    if name == "none":
        return None
    kind = ResizedAugmentation if name.endswith("_resized") else Augmentation
    return kind(side, SCALE_FACTORS[name])
