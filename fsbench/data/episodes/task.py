"""The task that a manifest is drawn for: fold, ways, shots, setting."""

from dataclasses import dataclass
from typing import Any

from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.manifest import Classes, Header


def usable_way(index: SegmentationIndex, fold: int, way: int) -> int:
    """Return the number of ways of a test: `way`, or that of the fold's classes where it is smaller.

    A data set with a published protocol keeps `way`, which is then refused when episodes are drawn.
    """
    if index.has_published_protocol or fold not in range(index.folds):
        return way
    return min(way, len(index.test_classes(fold)))


@dataclass(frozen=True)
class EpisodeTask:
    """The choices that the episodes of a manifest follow from, besides data set and protocol.

    Attributes:
        fold: fold whose classes are novel.
        way, shot: N and K.
        setting: one of `SETTINGS`.
        allow_background_queries: queries may show none of the support classes, where the protocol allows it.
        classes: classes of the episodes: "novel" those of the fold (the test), "base" the other ones, in test images,
            "held_out" those that the data set keeps for choosing a checkpoint.
        episodes: number of episodes instead of the protocol's.
        skip_small_classes: leave out classes with too few images instead of stopping.
        seed: seed instead of the protocol's.
        draws: draws of the supports for every query; draw 0 is the official one.
        nested_in: number of shots that are drawn, of which an episode has the first `shot`; None draws `shot`.
    """

    fold: int
    way: int = 1
    shot: int = 1
    setting: str = "original"
    allow_background_queries: bool = True
    classes: Classes = "novel"
    episodes: int | None = None
    skip_small_classes: bool = False
    seed: int | None = None
    draws: int = 1
    nested_in: int | None = None

    def header_entries(self) -> dict[str, Any]:
        """Return the entries of an official manifest that state the task, in the order that its hash covers."""
        return {
            "fold": self.fold,
            "way": self.way,
            "shot": self.shot,
            "setting": self.setting,
            "empty": self.allow_background_queries,
            "classes": self.classes,
            "episodes": self.episodes,
            "drop_small": self.skip_small_classes,
            "seed": self.seed,
        }

    @classmethod
    def from_header(cls, header: Header, official_seed: int | None) -> "EpisodeTask":
        """Return the task that a manifest with this `header` was drawn for, by a protocol of this seed."""
        return cls(
            fold=header.fold,
            way=header.way,
            shot=header.shot,
            setting=header.setting,
            allow_background_queries=header.empty,
            classes=header.classes,
            episodes=header.requested,
            skip_small_classes=header.drop_small,
            seed=None if header.seed == official_seed else header.seed,
            draws=header.draws,
            nested_in=header.nested_in,
        )
