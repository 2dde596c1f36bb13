"""Few-shot segmentation as the programs of PFENet and BAM test it (bam.md §10, pfenet-method.md §6).

Images keep their aspect ratio in a padded square, and an answer is enlarged to the square of the longer side of the
query. HMNet's program, which is `pfenet` here, squashes images and enlarges answers to the query's own size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import PairList, SegmentationIndex
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS
from fsbench.protocols.conditions import Conditions, ListsAndDraw
from fsbench.protocols.geometry import QuerySize, Resize
from fsbench.protocols.pfenet import PFENet
from fsbench.protocols.pools import Pool


def evaluated_episodes(asked: int, listed: int, passes: int) -> int:
    """Return how many episodes PFENet's program evaluates (pfenet-method.md §6): it stops one too late.

    Args:
        asked: number of episodes that are asked for.
        listed: images of the list.
        passes: passes over the list at most.
    """
    return min(asked + 1, passes * listed)


@dataclass(frozen=True)
class PaddedPFENet(PFENet):
    """PFENet's lists and draws with padded images; pixels are counted in the square of the query's longer side.

    Padding is void, so that only the query's own pixels count.

    Attributes:
        passes: passes over the list at most, by the rule of `evaluated_episodes`; None for as many as it takes.
        validation_passes: the same in the validation of a training; None for that of the test.
    """

    resize: Resize = "padded"
    query_size: QuerySize = "square"
    passes: int | None = None
    validation_passes: int | None = None

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = PFENet.lists_and_draw  # whose pool may only be shorter

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        pairs, pool, length = super().test_pool(index, task)
        if self.passes is not None:
            asked = self.episodes.get(index.name, self.episodes[OTHERS])
            assert isinstance(asked, int)
            asked = asked if task.episodes is None else task.episodes
            length = evaluated_episodes(asked, len(pool.images), self.passes)
        return pairs, pool, length

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        notes = super().rule_notes(header, image_sizes)
        if self.passes is not None and header.requested != header.official_episodes:
            notes.append(
                f"exactly the {header.requested} episodes that were asked for; the authors' program, asked for so "
                f"many, evaluates {header.requested + 1}"
            )
        return notes

    def conditions(self, dataset: str) -> Conditions:
        stated = super().conditions(dataset)
        return stated if self.passes is None else replace(stated, episodes_per_fold=str(self.episode_count(dataset, 0)))

    @property
    def in_validation(self) -> "PaddedPFENet":
        return self if self.validation_passes is None else replace(self, passes=self.validation_passes)

    def episode_count(self, dataset: str, pairs: int) -> int:
        return super().episode_count(dataset, pairs) + (self.passes is not None)

    def check_values(self) -> None:
        super().check_values()
        for name, passes in (("passes", self.passes), ("validation_passes", self.validation_passes)):
            if passes is not None and passes < 1:
                raise SettingsError(f"{name} is {passes}, expected 1 or more, or null")
