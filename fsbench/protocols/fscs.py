"""Few-shot classification and segmentation as CST and EMAT evaluate it (fscs-protocol)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import ClassVar, Literal

import numpy as np

from fsbench.data.dataset import VOID, PairList, QuerySampling, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.settings import SETTINGS, SIZE_BINS
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import Provider
from fsbench.protocols.composed import Composed
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.draws import draw_episode
from fsbench.protocols.lists import pair_list
from fsbench.protocols.pools import Pool
from fsbench.protocols.segmentation import Void

AUGMENTED = ("partially_augmented", "fully_augmented")
"""Settings in which supports are used for further classes that they show."""
ClassPixels = Callable[[str], tuple[dict[int, int], int]]
"""Image name -> (pixels of every label, pixels in all); see `SegmentationIndex.class_pixels`."""


class Augmentation(Provider):
    """The augmented settings on a data set."""

    @property
    def threshold(self) -> float:
        """Share of an image that a further class must cover to be used (θ of §4)."""
        return 0.07


def augmentation(index: SegmentationIndex) -> Augmentation:
    """Return the augmented settings on a data set: its own, or PASCAL's."""
    return Augmentation.find(index) or Augmentation(index)


@dataclass(frozen=True)
class FSCS(Composed):
    """N-way K-shot; queries may show none of the classes; further settings augment supports or restrict sizes.

    Lists and draw are the words of its file, which no default stands for.
    """

    seed: int | None = None  # RandomState(episode index)
    ways: Literal["any", "one"] = "any"
    empty_queries: bool = True
    void: Void = "background"
    states_streams: bool = False
    episode_draw: str | dict[str, str] = field(kw_only=True)

    settings: ClassVar[tuple[str, ...]] = SETTINGS
    settings_words: ClassVar[str] = (
        "original, partially and fully augmented supports, and the size-restricted sets 0-5, 5-10, 10-15, 0-15 %"
    )
    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {}  # those of its words, which its own methods keep

    def may_be_empty(self, task: EpisodeTask) -> bool:
        return super().may_be_empty(task) and task.setting not in SIZE_BINS

    def setting_pairs(self, index: SegmentationIndex, setting: str, fold: int) -> PairList:
        return pair_list(index, setting, fold) if setting in SIZE_BINS else super().setting_pairs(index, setting, fold)

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        if task.setting not in SIZE_BINS:
            return super().test_pool(index, task)
        lists = [pair_list(index, task.setting, fold) for fold in range(index.folds)]
        pools = [size_pool(pairs, index.query_sampling, way=task.way, shot=task.shot) for pairs in lists]
        return lists[task.fold], pools[task.fold], max(len(pool.pairs) for pool in pools)

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        if task.setting not in AUGMENTED:
            return super().draw(index, pool, task)
        return (_augmented_episode(i, index, pool, task) for i in count())


def _augmented_episode(i: int, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Episode:
    rng = np.random.RandomState(i)  # the official seed of item i
    episode = draw_episode(i, rng, pool, way=task.way, shot=task.shot, background=task.allow_background_queries)
    targets = pool.class_ids if task.setting == "fully_augmented" else None
    return augment(episode, rng, targets, index.class_pixels, augmentation(index).threshold)


def augment(
    episode: Episode,
    rng: np.random.RandomState,
    targets: Sequence[int] | None,
    class_pixels: ClassPixels,
    threshold: float,
) -> Episode:
    """Use the support masks' other annotated classes too (fscs-protocol §4).

    `targets` None is the partially augmented setting (the episode's own ways); a list of class ids is the fully
    augmented one, in which a class of the list that is not yet a way becomes one. `rng` must be the state that
    `draw_episode` left. Ways are padded to equal length with copies of their own shots.
    """
    supports = {number: list(names) for number, names in zip(episode.classes, episode.supports, strict=True)}
    allowed = set(episode.classes if targets is None else targets)
    added = False
    for way_class, names in zip(episode.classes, episode.supports, strict=True):
        for name in names:
            pixels, total = class_pixels(name)
            for number in sorted(pixels):
                usable = number in allowed and number not in (0, VOID, way_class)
                if usable and pixels[number] / total > threshold:
                    supports.setdefault(number, []).append(name)
                    added = True
    if not added:
        return episode
    longest = max(map(len, supports.values()))
    for shots in supports.values():
        while len(shots) < longest:
            shots.append(shots[rng.randint(len(shots))])
    return replace(episode, classes=tuple(supports), supports=tuple(map(tuple, supports.values())), augmented=True)


def size_pool(pairs: PairList, query_sampling: QuerySampling, *, way: int, shot: int) -> Pool:
    """Return the pool of a size-restricted split (fscs-protocol §5): grouped by class, filtered, shuffled once.

    Data sets with sequential queries (PASCAL) keep every class in `class_ids` in order of first appearance and filter
    pairs only for more than one way; the others (COCO) drop classes that have no more than `shot` images.
    """
    enough = {number: names for number, names in pairs.images_of.items() if len(names) > shot}
    if query_sampling == "sequential":
        class_ids = list(pairs.images_of)
        queries = pairs.images_of if way == 1 else enough
    else:
        class_ids = list(enough)
        queries = enough
    shuffled = [(name, number) for number, names in queries.items() for name in names]
    np.random.RandomState(0).shuffle(shuffled)
    return Pool(shuffled, pairs.images_of, class_ids, "sequential")
