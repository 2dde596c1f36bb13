"""Lvis under the protocol segic: the rule that its episodes are drawn by, from LVIS's own file (segic.md §8.2)."""

from collections.abc import Iterator

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.episode import Episode
from fsbench.data.source import missing
from fsbench.datamodules.datasets.lvis.index import Lvis
from fsbench.datamodules.datasets.lvis.own_file import FILE
from fsbench.datamodules.indexes.view_episodes import ViewEpisodes
from fsbench.datamodules.indexes.views import SEPARATOR
from fsbench.protocols.draws.incontext import EpisodeRun
from fsbench.protocols.draws.segic import ProgramEpisodes, draw_lvis, lvis_fold, process_streams


@ProgramEpisodes.register(Lvis)
class LvisProgramEpisodes(ViewEpisodes, ProgramEpisodes):
    """The episodes of the data set, from the 8 processes of the authors' README."""

    index: Lvis

    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        index = self.index
        index.check_fold(fold)
        if shot > 1:
            raise SettingsError(f"SHOT is {shot}, but SegIC's program shows one support; expected SHOT=1")
        if index.file != FILE:
            raise missing(
                f"{index.root} has {index.file}, which tells no order of objects; expected {FILE} in a folder without "
                f"it, from which SegIC's program draws; or choose PROTOCOL=incontext",
                __package__,
            )
        photos, objects = {}, []
        for category, images in index.categories.items():
            for photo, found in images.items():
                for one in found["annotations"]:
                    photos[one["image_id"]] = photo
                    objects.append((one["image_id"], category))
        drawn_from = lvis_fold(objects, fold)

        def episodes() -> Iterator[Episode]:
            for number, generators in enumerate(process_streams(seed, fold)):
                category, *images = draw_lvis(drawn_from, generators.python)
                query, support = (f"{photos[image]}{SEPARATOR}{category}" for image in images)
                own = index.numbers[category]
                yield Episode(number, query, own, (own,), ((support,),))

        return self.episode_run([index.numbers[key] for key in drawn_from.categories], None, episodes())
