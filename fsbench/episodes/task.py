"""The task that a manifest is drawn for: fold, ways, shots, setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fsbench.data.dataset import SegmentationIndex
from fsbench.episodes.protocol import Protocol
from fsbench.episodes.settings import SETTINGS, unknown_setting
from fsbench.errors import SettingsError


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
    """

    fold: int
    way: int = 1
    shot: int = 1
    setting: str = "original"
    allow_background_queries: bool = True
    classes: Literal["novel", "base", "held_out"] = "novel"
    episodes: int | None = None
    skip_small_classes: bool = False
    seed: int | None = None

    def header(self) -> dict[str, Any]:
        """Return the entries of a manifest's header that state the task, in the order that its hash covers."""
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
    def from_header(cls, header: Mapping[str, Any], protocol: Protocol) -> "EpisodeTask":
        """Return the task that a manifest with this `header` was drawn for."""
        return cls(
            fold=header["fold"],
            way=header["way"],
            shot=header["shot"],
            setting=header["setting"],
            allow_background_queries=header["empty"],
            classes=header["classes"],
            episodes=header["requested"],
            skip_small_classes=header["drop_small"],
            seed=None if header["seed"] == protocol.seed else header["seed"],
        )

    def check(self, index: SegmentationIndex, protocol: Protocol) -> None:
        """Raise SettingsError for an unknown fold, way, shot or setting and for what the protocol does not define."""
        index.check_fold(self.fold)
        if self.setting not in SETTINGS:
            raise SettingsError(unknown_setting(self.setting))
        if protocol.settings == "original" and self.setting != "original":
            raise SettingsError(f"protocol {protocol.name} has no setting '{self.setting}'; choose original, or fscs")
        if protocol.ways == "one" and self.way > 1:
            raise SettingsError(f"protocol {protocol.name} is 1-way, found way {self.way}; choose WAY=1, or fscs")
        if protocol.seed is None and self.seed is not None:
            raise SettingsError(f"protocol {protocol.name} seeds episodes by their index; found test seed {self.seed}")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise SettingsError(f"test seed is {self.seed}, expected 0 to {2**32 - 1}")
        for name, value in (("way", self.way), ("shot", self.shot), ("episodes", self.episodes)):
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}, expected 1 or more")
