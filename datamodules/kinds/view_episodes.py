"""Tests of data sets of views under the protocol incontext."""

from collections.abc import Iterator

from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.kinds.views import ViewData
from fsbench.datamodules.lists.official import UNVERIFIED
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes


class ViewEpisodes(OwnEpisodes):
    """Rule by which episodes are drawn on a data set of views; masks of an episode are checked when it is drawn."""

    data: ViewData

    def episode_run(self, class_ids: list[int], length: int | None, episodes: Iterator[Episode]) -> EpisodeRun:
        origin = UNVERIFIED  # no checksum of these files is published (incontext-protocol §8)
        return EpisodeRun(class_ids, length, self._checked(episodes), self.data.annotations_sha256, origin)

    def _checked(self, episodes: Iterator[Episode]) -> Iterator[Episode]:
        usable: set[str] = set()
        for episode in episodes:
            for name in (episode.query, *episode.supports[0]):
                if name not in usable:
                    self.data.check_masks(name)
                    usable.add(name)
            yield episode
