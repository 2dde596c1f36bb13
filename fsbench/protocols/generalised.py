"""Generalised few-shot segmentation: tests of base and novel classes at once on the validation images (gfss.md).

An episode is about all base classes, which have no support, and then about novel ones, which have. A method takes part
that labels both (`Segmenter.segments_base_classes`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import DERIVED, Pair, PairList, SegmentationIndex
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import Choice, Provider
from fsbench.protocols.conditions import Conditions
from fsbench.protocols.geometry import Resize
from fsbench.protocols.segmentation import TestAlone
from fsbench.scores.generalised import BaseAndNovelIoU, generalised_metrics
from fsbench.scores.metric import Metric
from fsbench.scores.scores import COMMON


class ValidationImages(Provider):
    """The validation images of a data set in the order of its authors' list, which decides the draw of supports."""

    index: SegmentationIndex

    def view(self) -> SegmentationIndex:
        """Return the data set with label maps as the authors have them."""
        return self.index

    def images(self) -> tuple[Sequence[str], str]:
        """Return the names, and the origin of their order (see `PairList`)."""
        return self.index.candidates("val"), DERIVED


@dataclass(frozen=True)
class Generalised(TestAlone):
    """A test of base and novel classes at once; which episodes there are, and which scores, a subclass says.

    Attributes:
        tells_void: methods are told which of a query's pixels are void; else only where padding is.
    """

    ways: Literal["any", "one"] = "any"
    empty_queries: bool = True
    resize: Resize = "padded"
    tells_void: bool = False

    metrics: ClassVar[tuple[Metric, ...]] = (*COMMON, *generalised_metrics(absent_is_zero=False))
    asks_base_classes: ClassVar[bool] = True
    has_weak_supports: ClassVar[bool] = False

    # Which episodes are there?

    def header_entries(self, index: SegmentationIndex, task: EpisodeTask, class_ids: Sequence[int]) -> dict[str, Any]:
        """Return the entries of a header whose classes are the base ones, then the novel ones `class_ids`."""
        novel = sorted(class_ids)
        ordered = [*sorted(index.train_classes(task.fold)), *novel]
        entries = super().header_entries(index, task, ordered)
        return entries | {"class_ids": ordered, "all_classes": True, "novel_ids": novel}

    def _images(self, index: SegmentationIndex) -> tuple[Sequence[str], str]:
        return self._provider(index).images()

    def _provider(self, index: SegmentationIndex) -> ValidationImages:
        return ValidationImages.find(index) or ValidationImages(index)

    def setting_pairs(self, index: SegmentationIndex, setting: str, fold: int) -> PairList:
        names, origin = self._images(index)
        return PairList(tuple[Pair, ...]((name, 0) for name in names), origin)

    def novel_classes(self, header: Header) -> list[int]:
        return list(header.protocol_entries["novel_ids"])

    def check_choices(self, setting: str, way: int) -> None:
        super().check_choices(setting, way)
        if way != 1:
            raise SettingsError(f"the protocol {self.name} asks for all classes at once, found way {way}; leave WAY=1")

    # How are images and masks seen?

    def view(self, index: SegmentationIndex) -> SegmentationIndex:
        return self._provider(index).view()

    # In which words?

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        told = (
            ["methods are told which pixels of a query are void, as the authors' program is"] if self.tells_void else []
        )
        return [*super().rule_notes(header, image_sizes), *told]

    @property
    def stated_metric(self) -> str:
        """Mean of the base and the novel mIoU, whichever of the scores comes first."""
        return BaseAndNovelIoU.name

    def conditions(self, dataset: str) -> Conditions:
        fb_iou = {} if self.fb_iou in self.default_metrics else {"fb_iou": "not computed"}
        return replace(super().conditions(dataset), task="GFSS", **fb_iou)

    def choices(self) -> list[Choice]:
        told = "void pixels of the query are told" if self.tells_void else "only the query's padding is told"
        return [*super().choices(), Choice("methods are told", self.tells_void, told)]


def list_sha256(lines: Sequence[str]) -> str:
    """Return the checksum of a list file with these lines, a final newline included (§2)."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
