"""How a test sees images, masks and the truth: how they are resized, and the size at which pixels are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import (
    LABEL_RESIZES,
    over_image,
    padded_shape,
    resize_labels,
    stretch,
    stretch_truth,
    way_labels,
)
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.conditions import COMPARED_AT, CONDITIONS, GEOMETRY, Comparison
from fsbench.protocols.words import Choice

Resize = Literal["pil", "pil_both", "cv2", "cv2_linear", "frame", "padded", "prepared", "centre"]
"""Rules of `fsbench.data.transforms.RESIZES` by which images and masks become S x S; "prepared" is that of slices, all
of one size from their preparation on, "centre" that of images without masks."""
InputResize = Literal["protocol", "bicubic", "letterbox", "intensities", "measured"]
"""Rule by which a method's images and support masks become S x S: the protocol's, or the method's own of `RESIZES`.

"intensities" are images as their data set measured them, float32 and normalised, resized by OpenCV; "measured" are
slices of scans so, resized with antialiasing, and photos by the protocol's rule. Other rules see 8 bits of a colour."""

QuerySize = Literal["original", "input", "square", "there_and_back"] | int
"""Size at which pixels are counted: the query's own, the method's input, the square of the query's longer side in which
it lies at the top left, the query's own after the truth was at the method's input size, or a side in pixels."""


def own_rule(own: InputResize, data: SegmentationData | None) -> InputResize:
    """Return a method's own rule for the images of a data set, None for photos: of photos nothing is "measured"."""
    return "protocol" if own == "measured" and not (data is not None and data.has_intensities) else own


def input_rule(resize: Resize, own: InputResize) -> str:
    """Return the name of the rule by which a method's images and support masks are resized.

    The method's own rule is used only if the protocol stretches images to a square. If the protocol keeps the aspect
    ratio, its own rule is used, since the ground truth lies in its padded square.

    Args:
        resize: name of the protocol's rule.
        own: name of the method's own rule; "protocol" if it has none.
    """
    return own if own != "protocol" and resize not in ("frame", "padded") else resize


@dataclass(frozen=True)
class View:
    """Sizes of images, masks and ground truth in a test, and what methods may know about them.

    Attributes:
        resize: name of the rule by which images and masks become S x S.
        query_size: size at which pixels are counted: "original" (the query's own), "input" (the method's input),
            "square" (the square of the query's longer side), "there_and_back" (the query's own, after the truth was at
            the input size), or the side of a square in pixels.
        frame: side in pixels of the padded square in which prediction and ground truth lie before they are stretched to
            the query's original size; None if they cover just the image, without padding.
        label_resize: name of the rule by which the ground truth of a query becomes S x S; None for `resize`.
        keeps_padding: whether the ground truth of a padded image keeps the padding as void, so that all ground truths
            have one size; if not, the padding is cut off.
        weak_supports: whether supports may be labelled with less than whole masks, such as points.
        tells_void: whether methods get to know which of a query's pixels are void; if not, only where its padding is.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    resize: Resize = "pil"
    query_size: QuerySize = "original"
    frame: int | None = None
    keeps_padding: bool = False
    label_resize: Resize | InputResize | None = None
    weak_supports: bool = True
    tells_void: bool = False

    @property
    def counts_at_input_size(self) -> bool:
        """Whether pixels are counted at the size of the method's input."""
        return self.query_size == "input"

    @property
    def truth_resize(self) -> Resize | InputResize:
        """Name of the rule by which the ground truth of a query is resized to S x S."""
        return self.label_resize or self.resize

    @property
    def conditions(self) -> dict[str, str]:
        """{key: word} of the conditions of a test that follow from how images, masks and truth are seen."""
        truth = self.truth_resize if self.counts_at_input_size else "pil" if self.side(0) else None
        compared = Comparison(self.query_size, truth, self.frame)
        return {GEOMETRY.key: GEOMETRY.word(self.resize), COMPARED_AT.key: COMPARED_AT.word(compared)}

    @property
    def training(self) -> "View":
        """The view for training, in which pixels are compared at the method's input size."""
        return View(self.resize, "input", keeps_padding=True)

    def side(self, image_size: int) -> int | None:
        """Return the side of the square in which pixels are counted; None if they are counted at original size.

        Args:
            image_size: side of the method's images.
        """
        if self.query_size == "input":
            return image_size
        return self.query_size if isinstance(self.query_size, int) else None

    def answer_size(self, size: tuple[int, int], image_size: int | None) -> tuple[int, int] | None:
        """Return the size (h, w) that a predicted label map should have.

        None is returned if pixels are counted at the method's input size and `image_size` is None.

        Args:
            size: (H, W) of the query.
            image_size: side of the images that the method sees; None if unknown.
        """
        if self.frame is not None:
            return self.frame, self.frame
        if self.query_size == "square":
            return max(size), max(size)
        if self.query_size == "input":
            return None if image_size is None else (image_size, image_size)
        return (self.query_size, self.query_size) if isinstance(self.query_size, int) else size

    def truth(self, labels: np.ndarray, image_size: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Resize a query's label map to the size at which pixels are counted.

        Args:
            labels: (H, W) uint8 at original size: 0 background, 1 to N the ways (classes), 255 void.
            image_size: side of the images that the method sees.

        Returns:
            The label map that predictions are compared with, and the size (h, w) that a predicted label map should
            have.
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

    def episode_truth(
        self, data: SegmentationData, episode: Episode, image_size: int, labels: np.ndarray | None = None
    ) -> EpisodeTruth:
        """Return the ground truth of an episode at the size at which pixels are counted.

        Args:
            data: the data set.
            episode: names of its images and numbers of its classes.
            image_size: side S of the images that the method sees.
            labels: label map (H, W) of the query with class numbers; None to read it from the data set.

        Raises:
            DataError: the label map cannot be read.
        """
        labels = data.label_map(episode.query) if labels is None else labels
        query = way_labels(labels, data.label_values(episode.query, episode.classes))
        slots = range(1, len(episode.classes) + 1)
        present = np.array([slot in query for slot in slots], dtype=bool)  # anywhere at original size, also in training
        label_map, size = self.truth(query, image_size)
        return EpisodeTruth(episode.number, size, label_map, present, np.array(episode.classes, dtype=np.int64))

    def fit(self, found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Resize a predicted label map (h, w) to the `size` of the ground truth.

        In a padded square the padding is cut off; otherwise the label map is stretched.
        """
        return found[: size[0], : size[1]] if self.truth_resize == "padded" else stretch(found, size)

    def original_truth(self, labels: np.ndarray, image_size: int | None = None) -> np.ndarray:
        """Return the ground truth (H, W) at the query's original size, with the distortions of the protocol's resizing.

        The ground truth is squashed if the protocol has a padded square, and coarse if the protocol resizes it to the
        method's input size and back.

        Args:
            labels: (H, W) uint8 at original size: 0 background, 1 to N the ways (classes), 255 void.
            image_size: side of the images that the method sees; None if the protocol does not resize the ground truth
                to that size.
        """
        if self.query_size == "there_and_back" and image_size:
            there = LABEL_RESIZES[self.truth_resize](labels, image_size, image_size)
            return resize_labels(there, labels.shape[0], labels.shape[1])
        return labels if self.frame is None else stretch_truth(labels, self.frame)

    def squashed_truth(self, labels: np.ndarray, side: int) -> np.ndarray:
        """Return a label map (H, W) resized to (side, side), as in a test that counts at the method's input size.

        For tests that count at another size, torch's nearest pixels are used.
        """
        own = self.query_size == "input" and self.truth_resize != "padded"
        return LABEL_RESIZES[self.truth_resize if own else "pil"](labels, side, side)

    def over_image(self, labels: np.ndarray) -> np.ndarray:
        """Return a counted label map (h, w) without padding, resized to lie over its image in pictures."""
        return over_image(labels, self.frame)

    def choices(self) -> list[Choice]:
        """Return (name, words) for each choice about resizing images and counting pixels, with its consequence."""
        if self.resize == "centre":
            return [Choice(GEOMETRY.label, "1.15 S both ways as PIL does it, then the middle of it")]
        return [Choice(CONDITIONS[key].label, CONDITIONS[key].explained(word)) for key, word in self.conditions.items()]

    def notes(self, image_sizes: Mapping[str, int | None]) -> list[str]:
        """Return notes for readers of scores about sizes and void pixels.

        Args:
            image_sizes: {method: side of the square images that it saw, or None}.
        """
        notes = []
        if self.counts_at_input_size:
            sizes = ", ".join(f"{name} {side} x {side}" for name, side in image_sizes.items())
            notes.append(f"pixels are counted at the input size: {sizes}")
        if self.tells_void:
            notes.append("methods are told which pixels of a query are void, as the authors' program is")
        return notes

    def check(self) -> None:
        """Raise SettingsError for field values that no test can have, or that exclude each other."""
        if isinstance(self.query_size, int) and self.query_size < 1:
            raise SettingsError(f"query_size is {self.query_size}, expected a word for a size, or 1 or more")
        framed = self.resize == "frame" and self.query_size == "original" and (self.frame or 0) > 0
        if not framed and (self.frame is not None or self.resize == "frame"):
            raise SettingsError(
                f"resize is '{self.resize}', query_size {self.query_size} and frame {self.frame}; expected a frame "
                "from 1 with resize 'frame' and query_size 'original', or none of it"
            )
        if self.resize == "padded" and self.query_size == "original":
            raise SettingsError(
                "resize is 'padded' and query_size 'original'; expected query_size 'square', 'input' or a side"
            )
        if self.label_resize not in (None, "pil", "pil_both", "cv2", "padded"):
            raise SettingsError(
                f"label_resize is '{self.label_resize}', expected 'pil', 'pil_both', 'cv2' or 'padded', or nothing"
            )
        if self.keeps_padding:
            raise SettingsError("keeps_padding is for views of training; leave it out")
        rule, padded = self.truth_resize, self.resize == "padded"
        if self.query_size != "square" and (rule == "padded") != padded:
            raise SettingsError(  # the truth would lie over the answer otherwise than the image does
                f"resize is '{self.resize}' and label_resize '{self.label_resize}'; expected both 'padded' or none of "
                "them, so that the truth lies where the answer does"
            )
        if self.query_size == "there_and_back" and self.resize in ("padded", "frame"):
            raise SettingsError(
                f"query_size is 'there_and_back' and resize '{self.resize}'; expected images that are stretched to "
                "S x S: resize 'pil', 'pil_both' or 'cv2'"
            )
