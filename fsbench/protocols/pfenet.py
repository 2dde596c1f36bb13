"""Few-shot segmentation as PFENet, BAM and HMNet evaluate it (hmnet.md §11)."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from fsbench.data.dataset import DERIVED, Pair, PairList, Part, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS, Choice, Provider, words_by_dataset
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.generators import loader_seeds
from fsbench.protocols.geometry import Resize
from fsbench.protocols.lists import kept_list, note_derived
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.segmentation import Segmentation


@dataclass(frozen=True)
class ReleasedImages:
    """The image list of one fold as the authors of a PFENet-like program released it.

    Attributes:
        path: file of the list.
        names: image names in list order.
        members: (image, class) pairs of the second released file; None where only the images are known.
    """

    path: Path
    names: tuple[str, ...]
    members: frozenset[Pair] | None


class ImageLists(Provider):
    """The image lists of a data set; these, of any, follow from its images."""

    index: SegmentationIndex

    def image_order(self, part: Part) -> Sequence[str]:
        """Return the images of `part` in the order that the programs go through them."""
        return self.index.candidates(part)

    def released(self, part: Part, fold: int) -> ReleasedImages | None:
        """Return the published list, or None to have it derived."""
        return None

    def origin(self, pairs: tuple[Pair, ...], part: Part, fold: int, released: ReleasedImages | None) -> str:
        """Return where `pairs` come from (see `PairList`); DataError where they contradict the `released` file."""
        return self.index.list_origin(pairs, f"pfenet-{part}", fold)


def image_lists(index: SegmentationIndex) -> ImageLists:
    """Return the image lists of a data set: its own, or those that follow from its images."""
    return ImageLists.find(index) or ImageLists(index)


@dataclass(frozen=True)
class PFENet(Segmentation):
    """1-way K-shot; own image lists; pixels are counted at the query's original size.

    Attributes:
        streams: by data set, number of random streams that take turns (loader processes of the official program).
    """

    seed: int | None = 321  # the tables of the papers repeat the test with others, too (test_seed)
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 1000, "coco": 4000})
    resize: Resize = "cv2"
    streams: dict[str, int] = field(default_factory=lambda: {OTHERS: 8, "coco": 32})

    drops_novel_images: ClassVar[bool | None] = True
    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        name: ListsAndDraw("bam", "2048 query+support", "image then class") for name in ("pascal", "coco")
    }
    drawing: ClassVar[str] = (
        "query images go through a list of their own (2048 pixels of a class or more), the class is drawn among all "
        "that the image shows, also tiny ones; K different supports"
    )

    def pairs(self, index: SegmentationIndex, part: Part, fold: int) -> PairList:
        return image_list(index, part, fold)

    def unfiltered_pairs(self, index: SegmentationIndex, fold: int) -> PairList:
        """Return PFENet's own list: novel classes are background in its images (pfenet-method.md §5)."""
        return kept_list(index, "pfenet-trn, with images of novel classes", fold, lambda: _unfiltered_list(index, fold))

    def pool(self, index: SegmentationIndex, pairs: PairList, class_ids: Sequence[int]) -> Pool:
        """Return the pool of images; label maps of queries are opened when episodes are drawn."""
        return Pool(
            pairs.pairs,
            pairs.images_of,
            sorted(class_ids),
            "image_first",
            lambda name: list(index.class_pixels(name)[0]),
        )

    def draw(self, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
        streams = self.streams.get(index.name, self.streams[OTHERS])
        return pfenet_episodes(pool, shot=task.shot, seed=self.test_seed(task) or 0, streams=streams)

    def choices(self) -> list[Choice]:
        streams = Choice("random streams", self.streams, words_by_dataset(self.streams))
        return [streams if choice.label == streams.label else choice for choice in super().choices()]

    def seed_words(self) -> str:
        return (
            f"{self.seed}; HMNet's seed study (Table 6) repeats the test with 0, 1, 2 and 3: --data.test_seed"
            if self.seed == 321
            else super().seed_words()
        )


def pfenet_episodes(pool: Pool, *, shot: int, seed: int, streams: int) -> Iterator[Episode]:
    """All 1-way episodes that PFENet's program draws with `streams` loader processes (hmnet.md §11.2).

    Raises TooFewImages where the official program would loop forever.
    """
    for index, (query, rng) in enumerate(streamed_queries(pool.images, seed, streams)):
        yield pfenet_episode(index, query, rng, pool, shot=shot)


def streamed_queries(images: Sequence[str], seed: int, streams: int) -> Iterator[tuple[str, random.Random]]:
    """Yield the images in their order, pass after pass, each with the generator that its episode is drawn from.

    Image i of a pass is served by process i mod `streams`, whose Python generator is seeded anew for each pass.
    """
    for base_seed in loader_seeds(seed):
        rngs = [random.Random(base_seed + stream) for stream in range(streams)]
        for i, query in enumerate(images):
            yield query, rngs[i % streams]


def pfenet_episode(index: int, query: str, rng: random.Random, pool: Pool, *, shot: int) -> Episode:
    """The episode of image `query` (hmnet.md §11.2)."""
    shown = pool.shown(query)
    number = shown[rng.randint(1, len(shown)) - 1]
    supports = pfenet_supports(rng, query, number, pool.images_of.get(number, ()), shot)
    return Episode(index, query, number, (number,), (supports,))


def pfenet_supports(rng: random.Random, query: str, number: int, images: Sequence[str], shot: int) -> tuple[str, ...]:
    """Draw different supports of class `number`, none of them the query, from its `images` (hmnet.md §11.2).

    They stand in the program's order, the last drawn first. Raises TooFewImages where the program would loop forever.
    """
    usable = len(images) - (query in images)
    if usable < shot:
        raise TooFewImages(number, usable, shot)
    taken: list[int] = []
    for _ in range(shot):
        rng.randint(1, len(images))  # the program draws once in vain before every support
        drawn = rng.randint(1, len(images)) - 1
        while images[drawn] == query or drawn in taken:
            drawn = rng.randint(1, len(images)) - 1
        taken.append(drawn)
    return tuple(images[item] for item in reversed(taken))


def image_list(index: SegmentationIndex, part: Part, fold: int) -> PairList:
    """Return the list of PFENet-like programs: images in list order, the classes of an image ascending.

    Training images that show a novel class are left out (hmnet.md §11.1).

    Args:
        index: the data set.
        part: "trn" for the base classes in training images, "val" for the novel ones in test images.
        fold: fold of the data set.
    """
    return kept_list(index, f"pfenet-{part}", fold, lambda: _image_list(index, part, fold))


def _image_list(index: SegmentationIndex, part: Part, fold: int) -> PairList:
    novel = index.test_classes(fold)
    classes, unwanted = (index.train_classes(fold), novel) if part == "trn" else (novel, [])
    lists = image_lists(index)
    released = lists.released(part, fold)
    names = released.names if released else lists.image_order(part)
    if released and released.members is not None:
        members = released.members
        pairs = tuple((name, n) for name in names for n in sorted(classes) if (name, n) in members)
    else:
        index.count_pixels(part, names)
        pairs = pairs_by_pixels(names, classes, unwanted, index.class_pixels, index.min_pixels)
    origin = lists.origin(pairs, part, fold, released)
    if released is None:
        note_derived(index, part, f"pfenet-{part}", fold, origin)
    return PairList(pairs, origin)


def _unfiltered_list(index: SegmentationIndex, fold: int) -> PairList:
    names = image_lists(index).image_order("trn")
    index.count_pixels("trn", names)
    pairs = pairs_by_pixels(names, index.train_classes(fold), (), index.class_pixels, index.min_pixels)
    return PairList(pairs, DERIVED)


def pairs_by_pixels(
    names: Iterable[str],
    classes: Sequence[int],
    unwanted: Collection[int],
    class_pixels: Callable[[str], tuple[dict[int, int], int]],
    min_pixels: int,
) -> tuple[Pair, ...]:
    """Return the pairs with `min_pixels` or more, of images that show not one pixel of `unwanted` classes."""
    pairs = []
    for name in names:
        pixels, _ = class_pixels(name)
        if not any(pixels.get(number) for number in unwanted):
            pairs += [(name, number) for number in sorted(classes) if pixels.get(number, 0) >= max(min_pixels, 1)]
    return tuple(pairs)
