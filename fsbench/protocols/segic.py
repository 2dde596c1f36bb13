"""Few-shot segmentation as SegIC's program tests it (segic.md §8).

Its processes and their loader processes draw, each from streams of its own, so that episodes hang on their numbers and
on the order of the data sets: COCO-20i's folds, then FSS-1000. LVIS has a rule of its own.

Private generators make the calls that the program makes on those of Python and NumPy.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import ClassVar, Literal

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.draws import draw_query, repeated_supports
from fsbench.protocols.generators import Generators, loader_seeds
from fsbench.protocols.geometry import QuerySize
from fsbench.protocols.hsnet import HSNet
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.segmentation import Absent, Void

LATER = {"fss1000": 4}
"""Loaders that the program makes before that of a data set without folds: those of COCO-20i."""


@dataclass(frozen=True)
class SegIC(HSNet):
    """HSNet's lists; pixels are counted at the query's own size, void as background; a class not drawn has no part.

    Attributes:
        processes: that share the episodes, one a GPU.
        workers: loader processes of each.
    """

    seed: int | None = 42
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 1000, "fss1000": "all"})
    query_size: QuerySize = "original"
    void: Void = "background"
    absent: Absent = "left_out"
    processes: int = 8
    workers: int = 4

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = HSNet.lists_and_draw
    drawing: ClassVar[str] = (
        "as hsnet, but from 8 processes with 4 loader processes each, whose streams hang on the fold; an image may be "
        "drawn twice as a support"
    )

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        place = LATER.get(index.name, task.fold)
        return process_episodes(
            pool, task.shot, self.test_seed(task) or 0, place=place, processes=self.processes, workers=self.workers
        )

    def check_values(self) -> None:
        super().check_values()
        if self.processes < 1 or self.workers < 1:
            raise SettingsError(f"processes is {self.processes} and workers {self.workers}; expected 1 or more of both")


def process_episodes(
    pool: Pool, shot: int, seed: int, *, place: int, processes: int = 8, workers: int = 4
) -> Iterator[Episode]:
    """Yield the episodes in the order of their numbers, which the processes get in turn (§8.2).

    Args:
        pool: images and classes.
        shot: K; the program knows one.
        seed: of process 0; each other adds its number.
        place: number of the loader among those of the run, from 0.
        processes, workers: their numbers.
    """
    streams = []
    for process in range(processes):
        base = next(islice(loader_seeds(seed + process), place, None))
        streams.append([Generators.for_worker(base, worker).numpy for worker in range(workers)])
    for index in count():
        turn, process = divmod(index, processes)
        rng = streams[process][turn % workers]
        query, number = draw_query(index, rng, pool, 1)
        images = pool.images_of.get(number, ())
        if not set(images) - {query}:
            raise TooFewImages(number, 0, 1)
        yield Episode(index, query, number, (number,), (repeated_supports(rng, images, query, shot),))


@dataclass(frozen=True)
class LvisFold:
    """A fold of LVIS as the program has it.

    Attributes:
        categories: ids of its categories, ascending.
        images: ids of its images, ascending.
        images_of: category id -> places in `images`, categories in the order in which images show them.
    """

    categories: list[int]
    images: list[int]
    images_of: dict[int, list[int]]


def lvis_fold(annotations: Iterable[Sequence[int]], fold: int) -> LvisFold:
    """Return a fold's categories, images and their order (§8.2).

    Args:
        annotations: image id and category id of each, in the order of their own ids.
        fold: from 0 to 9.
    """
    shown: dict[int, list[int]] = {}
    for image, category in annotations:
        shown.setdefault(image, []).append(category)
    images_with: dict[int, set[int]] = {}
    for image, categories in shown.items():
        for category in categories:
            images_with.setdefault(category, set()).add(image)
    frequent = sorted(category for category, images in images_with.items() if len(images) > 1)
    chosen = frequent[fold::10]
    images = sorted(set().union(*(images_with[category] for category in chosen)))
    images_of: dict[int, list[int]] = {}
    for place, image in enumerate(images):
        for category in dict.fromkeys(shown[image]):
            if category in chosen:
                images_of.setdefault(category, []).append(place)
    return LvisFold(chosen, images, images_of)


def lvis_episodes(fold: LvisFold, rng: random.Random) -> Iterator[tuple[int, int, int]]:
    """Yield category id, query and support as image ids, drawn as the program draws LVIS (§8.2).

    Sets of integers are iterated, whose order is CPython's. A category with two images is asked for its own answer:
    the query is its support.
    """
    keys = list(fold.images_of)
    while True:
        rng.randint(0, len(fold.images) - 1)  # an image that the program draws and drops
        category = rng.choice(keys)
        own = fold.images_of[category]
        query = rng.choice(list(set(own) - {None}))
        others = list(set(own) - {query})
        support = query if len(others) == 1 else rng.choice(others)
        yield category, fold.images[query], fold.images[support]
