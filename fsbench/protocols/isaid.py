"""iSAID-5i as the programs of SDM and R2Net evaluate it (isaid-protocol); GF-SAM's test is HSNet's over every line."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar, Literal

from fsbench.data.dataset import Pair, PairList, Part, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.geometry import QuerySize, Resize
from fsbench.protocols.lists import kept_list
from fsbench.protocols.pfenet import PFENet, image_lists
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.segmentation import Segmentation, Void

R2NET_SEEDS = (538, 124, 799, 809, 712)
"""Seeds of R2Net's five runs, as numpy draws them from 321 (§4.3)."""


@dataclass(frozen=True)
class SDM(Segmentation):
    """1-way K-shot on patches by SDM's program (§4.2): one stream, void is background, pixels counted at 256 x 256."""

    seed: int | None = 1385
    query_size: QuerySize = 256
    void: Void = "background"

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        "isaid": ListsAndDraw("own", "by the list", "list of pairs, shuffled when through")
    }
    drawing: ClassVar[str] = (
        "one after the other from one stream of Python's generator: queries go through the list, which is shuffled "
        "before every further pass; K different supports in the order of the list"
    )

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """mIoU and accuracy; the program has no FB-IoU."""
        return ("mIoU", "accuracy")

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        return sdm_episodes(pool, shot=task.shot, seed=self.test_seed(task) or 0)


def sdm_episodes(pool: Pool, *, shot: int, seed: int = 1385) -> Iterator[Episode]:
    """Draw the episodes of SDM's program, one after the other from one stream (§4.2).

    Args:
        pool: the pairs, which are the queries, and the images of their classes in the order of the list.
        shot: K.
        seed: of Python's generator.

    Raises:
        TooFewImages: the program would end there, or loop forever.
    """
    rng, items = random.Random(seed), list(pool.pairs)
    for number in count():
        place = number % len(items)
        if number and not place:
            rng.shuffle(items)
        query, class_id = items[place]
        yield Episode(number, query, class_id, (class_id,), (_sdm_supports(rng, query, class_id, pool, shot),))


def _sdm_supports(rng: random.Random, query: str, class_id: int, pool: Pool, shot: int) -> tuple[str, ...]:
    images = pool.images_of.get(class_id, ())
    others = [name for name in images if name != query]
    if len(others) < shot:
        raise TooFewImages(class_id, len(others), shot)
    if shot > 1:
        return tuple(rng.sample(others, shot))
    drawn = query
    while drawn == query:
        drawn = images[rng.randint(0, len(images) - 1)]
    return (drawn,)


@dataclass(frozen=True)
class R2Net(PFENet):
    """1-way K-shot on whole patches by R2Net's program (§4.3, §5): PFENet's draw, with images padded to a square.

    The authors' program goes through a Python set of images, whose order is another one in each process; here it is
    that of their names.
    """

    seed: int | None = 538
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 1000})
    resize: Resize = "padded"
    query_size: QuerySize = "square"  # 512 of a whole patch
    streams: dict[str, int] = field(default_factory=lambda: {OTHERS: 8})

    averaged_seeds: ClassVar[tuple[int, ...]] = R2NET_SEEDS
    drops_novel_images: ClassVar[bool | None] = None  # those with a large novel object (§7)
    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        "isaid512": ListsAndDraw("own", "2048 query+support", "image then class")
    }
    drawing: ClassVar[str] = (
        "query images with 2048 pixels of a class or more in the order of their names, the class is drawn among all "
        "that the image shows, also tiny ones; K different supports"
    )

    def pairs(self, index: SegmentationIndex, part: Part, fold: int) -> PairList:
        return kept_list(index, f"r2net-{part}", fold, lambda: _large_pairs(index, part, fold))

    def seed_words(self) -> str:
        others = ", ".join(str(seed) for seed in R2NET_SEEDS if seed != self.seed)
        return f"{self.seed}; the authors' mean is over this and {others}: --data.test_seed"


def _large_pairs(index: SegmentationIndex, part: Part, fold: int) -> PairList:
    """List the large objects of a part: names ascending, the classes of an image ascending (§3).

    A training image with a large object of another class is left out (§7).
    """
    names = sorted(image_lists(index).image_order(part))
    index.count_pixels(part, names)
    novel = index.test_classes(fold)
    classes, unwanted = (index.train_classes(fold), novel) if part == "trn" else (novel, [])
    least = max(index.min_pixels, 1)
    pairs: list[Pair] = []
    for name in names:
        pixels = index.class_pixels(name)[0]
        if not _any_large(pixels, unwanted, least):
            pairs += [(name, number) for number in sorted(classes) if pixels.get(number, 0) >= least]
    return PairList(tuple(pairs), index.list_origin(tuple(pairs), f"r2net-{part}", fold))


def _any_large(pixels: dict[int, int], classes: Sequence[int], least: int) -> bool:
    return any(pixels.get(number, 0) >= least for number in classes)
