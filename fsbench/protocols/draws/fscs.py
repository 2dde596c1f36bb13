"""The settings of few-shot classification and segmentation: augmented supports, objects by size (fscs-protocol)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from fsbench.data.dataset import VOID, PairList, QuerySampling, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.protocols.draws.further import redraw_copies_in
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.provider import Provider

AUGMENTED = ("partially_augmented", "fully_augmented")
"""Settings in which supports are used for further classes that they show."""
ClassPixels = Callable[[str], tuple[dict[int, int], int]]
"""Image name -> (pixels of every label, pixels in all); see `SegmentationData.class_pixels`."""


class AugmentedSettings(Provider):
    """Adapter with the threshold for the augmented settings of FS-CS, which add further classes of support images."""

    @property
    def threshold(self) -> float:
        """Share of an image's pixels that a further annotated class must cover to be added to an episode."""
        return 0.07


def augmented_episodes(data: SegmentationData, pool: Pool, task: Task) -> Iterator[Episode]:
    """Yield the episodes of a partially or fully augmented setting of FS-CS, without end."""
    apart = redraw_copies_in(data, pool)
    return (_augmented_episode(i, data, pool, task, apart) for i in count())


def _augmented_episode(
    i: int, data: SegmentationData, pool: Pool, task: Task, apart: Callable[..., Episode]
) -> Episode:
    rng = np.random.RandomState(i)  # the official seed of item i
    episode = draw_episode(i, rng, pool, way=task.way, shot=task.shot, background=task.empty)
    targets = pool.class_ids if task.setting == "fully_augmented" else None
    return augment(apart(episode, i, 0), rng, targets, data.class_pixels, AugmentedSettings.of(data).threshold)


def augment(
    episode: Episode,
    rng: np.random.RandomState,
    targets: Sequence[int] | None,
    class_pixels: ClassPixels,
    threshold: float,
) -> Episode:
    """Return an episode with the support images' other annotated classes added as shots or ways (fscs-protocol §4).

    Args:
        episode: the episode as drawn.
        rng: random generator in the state in which drawing the episode left it.
        targets: None adds shots of the episode's own ways only; class numbers also add new ways of these classes.
        class_pixels: gives the pixels of each class in an image.
        threshold: share of the image that a class must cover to be added.

    Returns:
        The episode; ways with fewer shots than others are filled with copies of their own shots.
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
    """Return the pool of queries and supports of a size-restricted setting, filtered and shuffled once.

    Data sets with sequential queries (PASCAL) keep every class in order of first appearance and filter pairs only for
    more than one way; other data sets (COCO) drop classes that have no more than `shot` images (fscs-protocol §5).
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
