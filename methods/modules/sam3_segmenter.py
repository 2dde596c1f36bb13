"""The base of methods on SAM 3: boxes and names of supports for it, and the label map of all that it detects."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.prediction import Instances, Prediction
from fsbench.core.query_maps import Sketch, join_ways
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.annotations import KnownOrNot, Supervision
from fsbench.data.batch import EpisodeBatch, Hint, Hints
from fsbench.data.connected import Box, largest_part_box
from fsbench.networks.backbones.sam2_sam3 import FrozenSam3, Sam3NetConfig

AskedText = Literal["none", "class"]
VISUAL = "visual"
"""Text that asks for nothing but what examples show."""


class Sam3Segmenter(Segmenter):
    """Base of methods that prompt SAM 3 for each way (class of an episode) alone, by supports with boxes.

    A subclass's `segment` returns detections, or None if it fails for a way: the way then gets no pixels, and the
    episode counts as failed. `query_scores`, `objects` and `maps` turn detections into maps over the query.

    Args:
        backbone: SAM 3.
        text: "none" prompts with boxes alone; "class" adds the class's name as a text prompt.
        threshold: score that a detection must exceed.
    """

    backbone: FrozenSam3
    backbone_type = FrozenSam3
    learns = False
    finds_instances = True

    def __init__(self, backbone: Sam3NetConfig, text: AskedText, threshold: float):
        super().__init__(backbone)
        if not 0 <= threshold < 1:
            raise SettingsError(f"threshold is {threshold:g}, expected a score from 0 to below 1")
        self.text, self.threshold = text, threshold

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        named: frozenset[Hint] = frozenset({"class names"} if self.text == "class" else ())
        return Needs(hints=named | {"photos", "boxes"})

    @property
    def supervision(self) -> tuple[Supervision, ...]:
        return ("boxes", "class names") if self.text == "class" else ("boxes",)

    @property
    def saw_test_classes(self) -> KnownOrNot:
        return "no" if self.backbone.weights_id.startswith("random") else "unknown"

    def record_notes(self, data: Any) -> list[str]:
        """Return one sentence, in a list: which prompts SAM 3 gets, and whether it may have seen the test's classes."""
        told = "gets boxes and class names" if self.text == "class" else "gets boxes only (no class names)"
        if self.saw_test_classes == "unknown":
            told += f"; {self.backbone.release} may have seen the test's classes: its training data are not disjoint "
            told += "from those of COCO and PASCAL"
        return [told]

    def text_of(self, way: EpisodeBatch) -> str:
        """Return the text prompt for the class of an episode with one way.

        Raises:
            SettingsError: the method prompts with class names, and the episode has none.
        """
        if self.text == "none":
            return VISUAL
        hints = way.hints[0] if way.hints else Hints()
        if hints.class_names is None:
            raise SettingsError(
                "text is class, but the episodes tell no class names; expected a data set or supports with names, or "
                "text none"
            )
        return hints.class_names[0]

    def boxes_of(self, way: EpisodeBatch) -> Iterator[Box | None]:
        """Yield the box of each support of an episode with one way, in pixels of the support's photo; None for no box.

        Where an episode has no boxes, for example when a user's own images are predicted, the box around the largest
        part of the support's mask is taken.
        """
        hints, rows = way.hints[0] if way.hints else Hints(), way.support[0, 0].tolist()
        for number, (row, mask) in enumerate(zip(rows, way.support_masks[0, 0], strict=True)):
            if hints.boxes is None:
                yield _mask_box(mask.cpu().numpy(), way.photo(row))
            else:
                given = hints.boxes[0, number]
                yield None if given.isnan().any() else (*given.tolist(),)

    def query_scores(self, found: Any, size: tuple[int, int]) -> Tensor:
        """Return for each query pixel the largest score of the detections that cover it, (h, w) float32; 0 without one.

        Args:
            found: the detections of one way, as `segment` returns them.
            size: (h, w) of the query.
        """
        raise NotImplementedError

    def objects(self, found: Any, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each detection's mask (·, ·) over the query, at any size, and its score ()."""
        raise NotImplementedError

    def maps(self, found: Any, size: tuple[int, int]) -> dict[str, Tensor | Sketch]:
        """Return maps and sketches of a way's detections over the query for display.

        Args:
            found: the way's detections, as `segment` returns them.
            size: height and width of the maps.

        Returns:
            {name: map or sketch}, such as "detections" and "detection scores".
        """
        raise NotImplementedError

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return the detections of all ways for display, as {name: map or sketch over the query}.

        Names are those of `maps`; with several ways, they end with the way's number.
        """
        height, width = episode.query_sizes[0].tolist()
        ways = self.way_outputs(episode)
        return join_ways([{} if found is None else self.maps(found, (height, width)) for found in ways])

    def decide(self, ways: Iterator[Iterator[Any]], size: tuple[int, int]) -> Prediction:
        """Assign each pixel of the query, at `size` (h, w), to the way with the largest score, the first on ties."""
        return self.label_map([one for outputs in ways for one in outputs], size)

    def label_map(self, found: Sequence[Any], size: tuple[int, int]) -> Prediction:
        """Return the prediction at `size` (h, w) from each way's detections.

        A way with None instead of detections gets no pixels, and the prediction is marked as failed.
        """
        scores = [torch.zeros(size) if one is None else self.query_scores(one, size).cpu() for one in found]
        keeps = self.keeps_soft_masks
        prediction = self.predict([Way(s, s > 0, probability=s if keeps else None) for s in scores], [])
        answered = (() if one is None else self.objects(one, size) for one in found)
        objects = Instances.of_ways(answered) if self.keeps_instances else None
        return replace(prediction, instances=objects, failed=any(one is None for one in found))


def largest_scores(masks: Iterator[Tensor], scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the largest score of the masks that cover each pixel, (h, w) float32; 0 where no mask does.

    Args:
        masks: Q masks (h, w) bool.
        scores: scores (Q,) of the masks, not negative.
        size: height h and width w of the masks.
    """
    best = torch.zeros(size, device=scores.device)
    for mask, score in zip(masks, scores, strict=True):
        best = torch.where(mask, torch.maximum(best, score), best)
    return best


def _mask_box(mask: np.ndarray, photo: Tensor) -> Box | None:
    """Return the box around the largest part of a mask (S, S) in pixels of its photo (3, H, W)."""
    found, down, across = largest_part_box(mask), photo.shape[1] / mask.shape[0], photo.shape[2] / mask.shape[1]
    return found and (found[0] * across, found[1] * down, found[2] * across, found[3] * down)
