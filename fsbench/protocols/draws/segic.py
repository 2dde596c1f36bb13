"""Episodes as SegIC's program draws them (segic.md §8).

Its processes and their loader processes draw, each from streams of its own, so that episodes hang on their numbers and
on the order of the data sets: COCO-20i's folds, then FSS-1000. LVIS has a rule of its own.

Private generators make the calls that the program makes on those of Python and NumPy.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.draws.incontext import OwnEpisodes
from fsbench.protocols.episode_rules.hsnet import draw_query, repeated_supports
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages
from fsbench.protocols.episode_rules.rules import one_way
from fsbench.protocols.episode_rules.streams import Generators, loader_seeds

LOADERS_BEFORE = {"fss1000": 4}
"""Loaders that the program makes before that of a data set without folds: those of COCO-20i."""


class ProgramEpisodes(OwnEpisodes):
    """Adapter for a data set whose episodes SegIC's program draws by a rule of their own, not from image lists."""


def process_streams(seed: int, place: int, processes: int = 8, workers: int = 4) -> Iterator[Generators]:
    """Yield the random generators of each episode, by ascending number, as in SegIC's program (segic.md §8.2).

    Episodes are dealt to the processes in turn, and within a process to its loader processes in turn.

    Args:
        seed: the seed of process 0; each other process adds its number.
        place: number of this loader among the loaders that the program makes, from 0.
        processes: number of processes.
        workers: number of loader processes of each process.
    """
    streams = []
    for process in range(processes):
        base = next(islice(loader_seeds(seed + process), place, None))
        streams.append([Generators.for_worker(base, worker) for worker in range(workers)])
    for episode in count():
        turn, process = divmod(episode, processes)
        yield streams[process][turn % workers]


def process_episodes(pool: Pool, shot: int, streams: Iterable[Generators]) -> Iterator[Episode]:
    """Yield 1-way episodes of a data set with image lists as SegIC's program draws them with numpy (segic.md §8.2).

    Args:
        pool: possible queries and supports.
        shot: number of supports K; the program knows only one.
        streams: the random generators of each episode, from `process_streams`.
    """
    for episode, generators in enumerate(streams):
        query, number = draw_query(episode, generators.numpy, pool, 1)
        images = pool.images_of.get(number, ())
        if not set(images) - {query}:
            raise TooFewImages(number, 0, 1)
        supports = repeated_supports(generators.numpy, images, query, shot)
        yield one_way(episode, query, number, supports)


@dataclass(frozen=True)
class LvisFold:
    """Fold of LVIS in the form that SegIC's program builds.

    Attributes:
        categories: ids of the fold's categories, ascending.
        images: ids of the fold's images, ascending.
        images_of: {category id: positions in `images`}; categories in the order in which images show them, categories
            of one image by ascending id.
    """

    categories: list[int]
    images: list[int]
    images_of: dict[int, list[int]]


def lvis_fold(annotations: Iterable[Sequence[int]], fold: int) -> LvisFold:
    """Return the categories, the images and their order of a fold of LVIS, as in SegIC's program (segic.md §8.2).

    Args:
        annotations: (image id, category id) of each annotation, in any order.
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
    """Draw an LVIS episode as SegIC's program does: (category id, query image id, support image id).

    Sets of integers are iterated in CPython's order. In a category with only two images the query is its own support
    (segic.md §8.2).
    """
    rng.randint(0, len(fold.images) - 1)  # an image that the program draws and drops
    category = rng.choice(list(fold.images_of))
    own = fold.images_of[category]
    query = rng.choice(list(set(own) - {None}))
    others = list(set(own) - {query})
    support = query if len(others) == 1 else rng.choice(others)
    return category, fold.images[query], fold.images[support]
