"""Geometry of a test: the size at which pixels are counted, and where masks lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fsbench.data.label_maps import LABEL_RESIZES, over_image, padded_shape, resize_labels, stretch, stretch_truth

Resize = Literal["pil", "pil_both", "cv2", "frame", "padded"]
"""Rules of `fsbench.data.transforms.RESIZES` by which images and masks become S x S."""
InputResize = Literal["protocol", "bicubic", "letterbox"]
"""Rule by which a method's images and support masks become S x S: the protocol's, or the method's own of `RESIZES`."""

QuerySize = Literal["original", "input", "square", "there_and_back"] | int
"""Size at which pixels are counted: the query's own, the method's input, the square of the query's longer side in which
it lies at the top left, the query's own after the truth was at the method's input size, or a side in pixels."""

WORDS: Mapping[Resize, str] = {
    "pil": "squash, PIL, labels torch",
    "pil_both": "squash, PIL, labels PIL",
    "cv2": "squash, OpenCV",
    "frame": "letterbox, sides rounded",
    "padded": "letterbox",
}
"""Rules by which images become S x S in the words of the atlas."""
TRUTH_WORDS: Mapping[Resize | InputResize, str] = {
    "pil": "network input, torch nearest",
    "pil_both": "network input, PIL nearest",
    "cv2": "network input, OpenCV nearest",
    "padded": "network input, letterboxed",
}
"""Rules by which the truth becomes S x S in the words of the atlas."""


def input_rule(resize: Resize, own: InputResize) -> str:
    """Return the rule of `RESIZES` for a method's images and support masks: its own only where images are stretched.

    Where a protocol keeps their aspect, the truth lies in its frame, and images must, too.
    """
    return own if own != "protocol" and resize not in ("frame", "padded") else resize


@dataclass(frozen=True)
class Geometry:
    """Sizes and places of images and masks in a test.

    Attributes:
        resize: how images and masks become S x S.
        query_size: size at which pixels are counted.
        frame: side in pixels of the padded square in which prediction and truth lie before they are stretched to the
            query's original size; None where they lie over the image itself.
        label_resize: how the truth of a query becomes S x S, where images become so by another rule.
        keeps_padding: the truth of a padded image keeps its padding, which is void, so that those of several images
            have one size; else it ends where the image does.
    """

    resize: Resize = "pil"
    query_size: QuerySize = "original"
    frame: int | None = None
    keeps_padding: bool = False
    label_resize: Resize | InputResize | None = None

    @property
    def truth_resize(self) -> Resize | InputResize:
        """The rule by which the truth of a query becomes S x S."""
        return self.label_resize or self.resize

    @property
    def compared_at(self) -> str:
        """The size at which pixels are counted, in the words of the atlas."""
        if self.frame is not None:
            return f"original, from a {self.frame} frame"
        if self.query_size == "input":
            return TRUTH_WORDS[self.truth_resize]
        named = {
            "original": "original, height and width",
            "square": "original, square",
            "there_and_back": "original, label there and back",
        }
        return named.get(str(self.query_size), f"fixed {self.query_size}")

    @property
    def training(self) -> "Geometry":
        """The geometry of training, where pixels are compared at the size of the method's input."""
        return Geometry(self.resize, "input", keeps_padding=True)

    def side(self, image_size: int) -> int | None:
        """Return the side of the square in which pixels are counted, for methods that see images of `image_size`.

        It is None where that follows from the query's original size.
        """
        if self.query_size == "input":
            return image_size
        return self.query_size if isinstance(self.query_size, int) else None

    def answer_size(self, size: tuple[int, int], image_size: int | None) -> tuple[int, int] | None:
        """Return the size (h, w) that a predicted label map should have.

        It is None where pixels are counted at the size of the method's input, and that is not known.

        Args:
            size: (H, W) of the query.
            image_size: side of the images that the method sees; None where it is not known.
        """
        if self.frame is not None:
            return self.frame, self.frame
        if self.query_size == "square":
            return max(size), max(size)
        if self.query_size == "input":
            return None if image_size is None else (image_size, image_size)
        return (self.query_size, self.query_size) if isinstance(self.query_size, int) else size

    def truth(self, labels: np.ndarray, image_size: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Bring the truth of a query to the size at which it is counted.

        Args:
            labels: (H, W) uint8 in way slots, at original size.
            image_size: side of the images that the method sees.

        Returns:
            The label map that predictions are compared with, and the size (h, w) that a predicted one should have.
        """
        if self.frame is not None:
            return stretch_truth(labels, self.frame), (self.frame, self.frame)
        if self.query_size == "square":
            return labels, (max(labels.shape), max(labels.shape))
        if self.query_size == "there_and_back":
            labels = self.original_truth(labels, image_size)
        side = self.side(image_size)
        if side is not None:
            resized = LABEL_RESIZES[self.truth_resize](labels, side, side)
            if self.truth_resize == "padded":
                height, width = padded_shape(labels.shape[0], labels.shape[1], side)
                return (resized if self.keeps_padding else resized[:height, :width]), (side, side)
            labels = resized
        return labels, (labels.shape[0], labels.shape[1])

    def fit(self, found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Bring a predicted label map (h, w) to the `size` of the truth that `truth` gave.

        It is stretched out of a frame, and cut at the end of a padded image.
        """
        return found[: size[0], : size[1]] if self.truth_resize == "padded" else stretch(found, size)

    def original_truth(self, labels: np.ndarray, image_size: int | None = None) -> np.ndarray:
        """Return the truth (H, W) at the query's original size, as it was counted.

        It is squashed where there is a frame, and coarse where it was at the method's input size in between.

        Args:
            labels: (H, W) uint8 in way slots, at original size.
            image_size: side of the images that the method sees; None where it does not matter.
        """
        if self.query_size == "there_and_back" and image_size:
            there = LABEL_RESIZES[self.truth_resize](labels, image_size, image_size)
            return resize_labels(there, labels.shape[0], labels.shape[1])
        return labels if self.frame is None else stretch_truth(labels, self.frame)

    def squashed_truth(self, labels: np.ndarray, side: int) -> np.ndarray:
        """Return the truth (H, W) at a square (side, side), by the rule of a test that counts at the method's input.

        Other tests have none of their own, and torch's nearest pixels are taken.
        """
        own = self.query_size == "input" and self.truth_resize != "padded"
        return LABEL_RESIZES[self.truth_resize if own else "pil"](labels, side, side)

    def over_image(self, labels: np.ndarray) -> np.ndarray:
        """Lay a counted label map (h, w) over its image, for pictures."""
        return over_image(labels, self.frame)
