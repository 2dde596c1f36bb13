"""Tests of data sets of views under the protocol incontext."""

from collections.abc import Iterator

from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.kinds.views import ViewData
from fsbench.datamodules.lists.official import UNVERIFIED
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes


class ViewEpisodes(OwnEpisodes):
    """Rule by which episodes are drawn on a data set whose images are views, such as the boxes of single objects."""

    data: ViewData

    def episode_run(self, class_ids: list[int], length: int | None, episodes: Iterator[Episode]) -> EpisodeRun:
        """Wrap episodes as an `EpisodeRun` that checks, when an episode is drawn, that its masks can be read.

        Args:
            class_ids: numbers of the classes.
            length: number of episodes if the data set fixes it, else None.
            episodes: iterator over the episodes.
        """
        origin = UNVERIFIED  # no checksum of these files is published (incontext-protocol §8)
        return EpisodeRun(class_ids, length, self.check_episodes(episodes), self.data.annotations_sha256, origin)

    def check_episodes(self, episodes: Iterator[Episode]) -> Iterator[Episode]:
        """Yield each episode after checking that the masks of its query and supports can be read.

        Raises:
            DataError: a mask cannot be read.
        """
        usable: set[str] = set()
        for episode in episodes:
            for name in (episode.query, *episode.supports[0]):
                if name not in usable:
                    self.data.check_masks(name)
                    usable.add(name)
            yield episode
