"""Generalised few-shot segmentation: tests of base and novel classes at once on the validation images (gfss.md).

An episode is about all base classes, which have no support, and then about novel ones, which have. A method takes part
that labels both (`Segmenter.segments_base_classes`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fsbench.data.dataset import DERIVED, Pair, PairList, SegmentationIndex
from fsbench.episodes.header import Header
from fsbench.episodes.task import EpisodeTask
from fsbench.errors import SettingsError
from fsbench.metrics.confusion import COUNTS, intersection_union
from fsbench.metrics.count_table import sum_by_class
from fsbench.metrics.scores import COMMON, GENERALISED
from fsbench.protocols.base import Choice, Provider
from fsbench.protocols.conditions import Conditions
from fsbench.protocols.geometry import Resize
from fsbench.protocols.segmentation import TestAlone

if TYPE_CHECKING:
    import polars as pl

    from fsbench.metrics.scores import ScoreStatistics


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
        absent_is_zero: a base or novel class that a run neither shows nor predicts counts as 0; else it is left out.
    """

    ways: Literal["any", "one"] = "any"
    empty_queries: bool = True
    resize: Resize = "padded"
    tells_void: bool = False

    metrics: ClassVar[tuple[str, ...]] = (*COMMON, *GENERALISED)
    asks_base_classes: ClassVar[bool] = True
    has_weak_supports: ClassVar[bool] = False
    absent_is_zero: ClassVar[bool] = False

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

    # Which scores follow?

    def run_starts(self, header: Header) -> list[int]:
        """Return the number of the first episode of each run whose scores are averaged; there is one by default."""
        return [0]

    def statistics_with_void(self, frame: "pl.DataFrame", header: Header, void: str) -> "ScoreStatistics":
        """Sum a whole count table; by run and class for the mIoU of base and of novel classes."""
        import numpy as np  # with polars

        keep = (frame["slot"] > 0).to_numpy()
        starts = self.run_starts(header)
        run = np.searchsorted(starts, frame["episode"].to_numpy()[keep], side="right") - 1
        counts = np.column_stack([frame[name].to_numpy() for name in COUNTS])[keep]
        values = np.zeros((len(run), len(starts), 2), dtype=np.int64)
        values[np.arange(len(run)), run] = np.stack(intersection_union(counts, void), 1)
        ordered, novel = header.class_ids, set(self.novel_classes(header))
        sums = sum_by_class(frame, keep, ordered, values)
        is_novel = np.array([number in novel for number in ordered])
        whole = super().statistics_with_void(frame, header, void)
        return replace(
            whole,
            base_runs=sums[:, ~is_novel],
            novel_runs=sums[:, is_novel],
            absent_in_runs_is_zero=self.absent_is_zero,
        )

    # In which words?

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        told = (
            ["methods are told which pixels of a query are void, as the authors' program is"] if self.tells_void else []
        )
        return [*super().rule_notes(header, image_sizes), *told]

    def conditions(self, dataset: str) -> Conditions:
        return replace(
            super().conditions(dataset),
            task="GFSS",
            void=self._void_condition(dataset),
            metric="gfss, base without background",
            fb_iou="pooled" if self.fb_iou in self.default_metrics else "not computed",
        )

    def choices(self) -> list[Choice]:
        told = "void pixels of the query are told" if self.tells_void else "only the query's padding is told"
        return [*super().choices(), Choice("methods are told", self.tells_void, told)]


def list_sha256(lines: Sequence[str]) -> str:
    """Return the checksum of a list file with these lines, a final newline included (§2)."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
