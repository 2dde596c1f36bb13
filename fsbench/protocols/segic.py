"""Few-shot segmentation as SegIC's program tests it (segic.md §8).

Its processes and their loader processes draw, each from streams of its own, so that episodes hang on their numbers and
on the order of the data sets: COCO-20i's folds, then FSS-1000. LVIS has a rule of its own.

Private generators make the calls that the program makes on those of Python and NumPy.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import ClassVar

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.conditions import Conditions, ListsAndDraw
from fsbench.protocols.draws import draw_query, repeated_supports
from fsbench.protocols.generators import Generators, loader_seeds
from fsbench.protocols.incontext import InContext, OwnEpisodes
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.segmentation import Absent, Void

LATER = {"fss1000": 4}
"""Loaders that the program makes before that of a data set without folds: those of COCO-20i."""


class ProgramEpisodes(OwnEpisodes):
    """The test of a data set that the program draws by a rule of its own."""


@dataclass(frozen=True)
class SegIC(InContext):
    """HSNet's lists; LVIS has a rule of its own.

    Pixels are counted at the query's own size, void as background; the mean is over the classes that were drawn.

    Attributes:
        processes: that share the episodes, one a GPU.
        workers: loader processes of each.
    """

    seed: int | None = 42
    void: Void = "background"
    absent: Absent = "left_out"
    processes: int = 8
    workers: int = 4

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {}  # those of its words
    drawing: ClassVar[str] = (
        "as hsnet, but from 8 processes with 4 loader processes each, whose streams hang on the fold; LVIS has a rule "
        "of its own, by which a category with two images is asked for its own answer"
    )

    def official_manifest(self, index: SegmentationIndex, task: EpisodeTask) -> Manifest:
        own = ProgramEpisodes.find(index)
        if own is not None:
            return self._own_manifest(own, task)
        if OwnEpisodes.find(index) is not None:
            raise SettingsError(f"SegIC's program has no test of {index.name}; choose PROTOCOL=incontext")
        return super().official_manifest(index, task)

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        place = LATER.get(index.name, task.fold)
        streams = process_streams(self.test_seed(task) or 0, place, self.processes, self.workers)
        return process_episodes(pool, task.shot, streams)

    def conditions(self, dataset: str) -> Conditions:
        return replace(super().conditions(dataset), depends_on="workers+gpus")

    def seed_words(self) -> str:
        return f"{self.seed} and the number of the process; {self.processes} processes of {self.workers} loaders"

    def check_values(self) -> None:
        super().check_values()
        if self.processes < 1 or self.workers < 1:
            raise SettingsError(f"processes is {self.processes} and workers {self.workers}; expected 1 or more of both")


def process_streams(seed: int, place: int, processes: int = 8, workers: int = 4) -> Iterator[Generators]:
    """Yield the generators that each episode is drawn from, in the order of their numbers (§8.2).

    The processes get the episodes in turn, and so do the loader processes of each.

    Args:
        seed: of process 0; each other adds its number.
        place: number of the loader among those of the run, from 0.
        processes, workers: their numbers.
    """
    streams = []
    for process in range(processes):
        base = next(islice(loader_seeds(seed + process), place, None))
        streams.append([Generators.for_worker(base, worker) for worker in range(workers)])
    for index in count():
        turn, process = divmod(index, processes)
        yield streams[process][turn % workers]


def process_episodes(pool: Pool, shot: int, streams: Iterable[Generators]) -> Iterator[Episode]:
    """Yield the episodes of a data set with lists, drawn by NumPy's generators (§8.2).

    Args:
        pool: images and classes.
        shot: K; the program knows one.
        streams: of `process_streams`.
    """
    for index, generators in enumerate(streams):
        query, number = draw_query(index, generators.numpy, pool, 1)
        images = pool.images_of.get(number, ())
        if not set(images) - {query}:
            raise TooFewImages(number, 0, 1)
        supports = repeated_supports(generators.numpy, images, query, shot)
        yield Episode(index, query, number, (number,), (supports,))


@dataclass(frozen=True)
class LvisFold:
    """A fold of LVIS as the program has it.

    Attributes:
        categories: ids of its categories, ascending.
        images: ids of its images, ascending.
        images_of: category id -> places in `images`, categories in the order in which images show them, those of one
            image by ascending id.
    """

    categories: list[int]
    images: list[int]
    images_of: dict[int, list[int]]


def lvis_fold(annotations: Iterable[Sequence[int]], fold: int) -> LvisFold:
    """Return a fold's categories, images and their order (§8.2).

    Args:
        annotations: image id and category id of each, in any order.
        fold: from 0 to 9.
    """
    shown: dict[int, set[int]] = {}
    images_with: dict[int, set[int]] = {}
    for image, category in annotations:
        shown.setdefault(image, set()).add(category)
        images_with.setdefault(category, set()).add(image)
    frequent = sorted(category for category, images in images_with.items() if len(images) > 1)
    chosen = frequent[fold::10]
    images = sorted(set().union(*(images_with[category] for category in chosen)))
    images_of: dict[int, list[int]] = {}
    for place, image in enumerate(images):
        for category in sorted(shown[image].intersection(chosen)):
            images_of.setdefault(category, []).append(place)
    return LvisFold(chosen, images, images_of)


def draw_lvis(fold: LvisFold, rng: random.Random) -> tuple[int, int, int]:
    """Return category id, query and support as image ids, drawn as the program draws LVIS (§8.2).

    Sets of integers are iterated, whose order is CPython's. A category with two images is asked for its own answer:
    the query is its support.
    """
    rng.randint(0, len(fold.images) - 1)  # an image that the program draws and drops
    category = rng.choice(list(fold.images_of))
    own = fold.images_of[category]
    query = rng.choice(list(set(own) - {None}))
    others = list(set(own) - {query})
    support = query if len(others) == 1 else rng.choice(others)
    return category, fold.images[query], fold.images[support]
