"""PascalPart under the protocol incontext: the rule that its episodes are drawn by."""

from fsbench.datamodules.datasets.pascal_part.index import PascalPart
from fsbench.datamodules.indexes.view_episodes import ViewEpisodes
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes, episodes_of_parts


@OwnEpisodes.register(PascalPart)
class PascalPartEpisodes(ViewEpisodes):
    """The episodes of the data set."""

    index: PascalPart

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        index = self.index
        numbers = index.test_classes(fold)
        names_of = {number: index.classes[number - 1].images for number in numbers}
        drawn = episodes_of_parts(names_of, index.class_views, shot=shot, seed=seed)
        return self.episode_run(numbers, index.listed_images(fold), drawn)
