"""Geometry of a test: the size at which pixels are counted, and where masks lie."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fsbench.data.frames import over_image, stretch, stretch_truth
from fsbench.data.label_resizing import LABEL_RESIZES, padded_shape

Resize = Literal["pil", "cv2", "frame", "padded"]
"""Rules of `fsbench.data.transforms.RESIZES` by which images and masks become S x S."""
InputResize = Literal["protocol", "bicubic"]
"""Rule by which a method's images and support masks become S x S: the protocol's, or the method's own of `RESIZES`."""

QuerySize = Literal["original", "input", "square"] | int
"""Size at which pixels are counted: the query's own, the method's input, the square of the query's longer side in which
it lies at the top left, or a side in pixels."""


def input_rule(resize: Resize, own: InputResize) -> str:
    """Return the rule of `RESIZES` for a method's images and support masks: its own only where images are stretched.

    Where a protocol keeps their aspect, the truth lies in its frame, and images must, too.
    """
    return own if own != "protocol" and resize in ("pil", "cv2") else resize


@dataclass(frozen=True)
class Geometry:
    """Sizes and places of images and masks in a test.

    Attributes:
        resize: how images and masks become S x S.
        query_size: size at which pixels are counted.
        frame: side in pixels of the padded square in which prediction and truth lie before they are stretched to the
            query's original size; None where they lie over the image itself.
        keeps_padding: the truth of a padded image keeps its padding, which is void, so that those of several images
            have one size; else it ends where the image does.
    """

    resize: Resize = "pil"
    query_size: QuerySize = "original"
    frame: int | None = None
    keeps_padding: bool = False

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
        side = self.side(image_size)
        if side is not None:
            resized = LABEL_RESIZES[self.resize](labels, side, side)
            if self.resize == "padded":
                height, width = padded_shape(labels.shape[0], labels.shape[1], side)
                return (resized if self.keeps_padding else resized[:height, :width]), (side, side)
            labels = resized
        return labels, (labels.shape[0], labels.shape[1])

    def fit(self, found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Bring a predicted label map (h, w) to the `size` of the truth that `truth` gave.

        It is stretched out of a frame, and cut at the end of a padded image.
        """
        return found[: size[0], : size[1]] if self.resize == "padded" else stretch(found, size)

    def original_truth(self, labels: np.ndarray) -> np.ndarray:
        """Return the truth (H, W) at the query's original size, squashed as it was counted where there is a frame."""
        return labels if self.frame is None else stretch_truth(labels, self.frame)

    def over_image(self, labels: np.ndarray) -> np.ndarray:
        """Lay a counted label map (h, w) over its image, for pictures."""
        return over_image(labels, self.frame)
