"""PacoPart under the protocol incontext: the rule that its episodes are drawn by."""

from fsbench.datamodules.datasets.paco_part.index import PacoPart
from fsbench.datamodules.indexes.view_episodes import ViewEpisodes
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes, episodes_of_objects


@OwnEpisodes.register(PacoPart)
class PacoPartEpisodes(ViewEpisodes):
    """The episodes of the data set."""

    index: PacoPart

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        index = self.index
        numbers = index.fold_classes(fold, shot)
        photos_of = {number: index.photos(number) for number in numbers}
        drawn = episodes_of_objects(photos_of, index.class_views, index.is_empty, shot=shot, seed=seed)
        return self.episode_run(numbers, None, drawn)
