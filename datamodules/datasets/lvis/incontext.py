"""Lvis under the protocol incontext: the rule that its episodes are drawn by."""

from fsbench.datamodules.datasets.lvis.index import Lvis
from fsbench.datamodules.indexes.view_episodes import ViewEpisodes
from fsbench.datamodules.indexes.views import SEPARATOR
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.draws.incontext import EpisodeRun, OwnEpisodes, every_tenth
from fsbench.protocols.draws.pools import Pool


@OwnEpisodes.register(Lvis)
class LvisEpisodes(ViewEpisodes):
    """The episodes of the data set."""

    index: Lvis

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        index = self.index
        index.check_fold(fold)
        index.require_list()
        keys = every_tenth(index.frequent_categories(shot), fold, index.folds)
        images_of = {index.numbers[k]: [f"{name}{SEPARATOR}{k}" for name in index.categories[k]] for k in keys}
        pool = Pool((), images_of, [*images_of], "by_turns")  # in the order of the file (incontext-protocol §3.3)
        return self.episode_run([*images_of], None, one_stream("class cycle", pool, shot=shot, seed=seed))
