"""Lists: which images are asked for and which may be supports (atlas-runs.md §1 and §2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import DERIVED, Pair, PairList, Part, SegmentationData
from fsbench.protocols.episode_rules.image_lists import ImageLists, image_list, large_object_list, unfiltered_image_list
from fsbench.protocols.episode_rules.pair_lists import kept_list, pair_list
from fsbench.protocols.episode_rules.pools import Pool

Pairs = Callable[[SegmentationData, Part, int], PairList]


@dataclass(frozen=True)
class Lists:
    """Rule that makes a test's lists of images.

    Attributes:
        pairs: function (data set, part, fold) -> list of (image, class) pairs; part is "val" for the test, "trn" for
            training.
        by_image: True if images are listed, and a query may be asked for any class that it shows; False if each listed
            image has a fixed class.
        blocks: whether a fold of COCO tests 20 consecutive classes; most programs take every fourth class instead.
        trains: whether there is a list of base classes to train on.
        filter_novel: whether images that show a novel class are left out of the training list; None if only some of
            these images are.
        unfiltered: function like `pairs` that makes the training list including images that show a novel class; None if
            the program has no such list.
        least_support: whether a support below the data set's smallest object size is drawn again.
        held_out: whether the test is about the classes that the data set reserves for validation; novel classes if it
            reserves none.
    """

    pairs: Pairs
    by_image: bool = False
    blocks: bool = False
    trains: bool = True
    filter_novel: bool | None = False
    unfiltered: Pairs | None = None
    least_support: bool = False
    held_out: bool = False

    def with_objects(self, pixels: int) -> "Lists":
        """Return the rule for images of which a class has so many pixels, for PFENet's lists."""
        return replace(
            self, pairs=partial(image_list, pixels=pixels), unfiltered=partial(unfiltered_image_list, pixels=pixels)
        )

    def classes(self, data: SegmentationData, fold: int) -> list[int]:
        """Return the numbers of the classes of the test of a fold, ascending."""
        if self.held_out and data.val_classes(fold):
            return sorted(data.val_classes(fold))
        novel = sorted(data.test_classes(fold))
        if not self.blocks or data.name != "coco":
            return novel
        return list(range(1 + len(novel) * fold, 1 + len(novel) * (fold + 1)))

    def pool(self, data: SegmentationData, pairs: PairList, class_ids: Sequence[int], rule: str) -> Pool:
        """Return the pool of queries and supports of an (image, class) list.

        Args:
            data: the data set.
            pairs: the list.
            class_ids: numbers of the classes.
            rule: how queries are taken from the list, see `Pool.query_sampling`.
        """
        images = self.images_by_class(data, pairs, class_ids)
        shown = (lambda name: list(data.class_pixels(name)[0])) if self.by_image else None
        return Pool(pairs.pairs, images, sorted(class_ids), rule, shown)  # type: ignore[arg-type]  # a draw's own word

    def images_by_class(
        self, data: SegmentationData, pairs: PairList, class_ids: Sequence[int]
    ) -> Mapping[int, Sequence[str]]:
        """Return {class number: names of its images}, in the order in which supports are drawn."""
        if not self.least_support:
            return data.support_images(pairs)
        names = list(dict.fromkeys(name for name, _ in pairs.pairs))
        return {number: [name for name in names if data.class_pixels(name)[0].get(number)] for number in class_ids}

    def may_support(self, data: SegmentationData) -> Callable[[str, int], bool]:
        """Return a function that tells whether an image of the list may be a support of a class."""
        if not self.least_support:
            return lambda name, number: True
        return lambda name, number: data.class_pixels(name)[0].get(number, 0) >= data.min_pixels


def _hsnet(data: SegmentationData, part: Part, fold: int) -> PairList:
    return pair_list(data, part, fold)


def _held_out(data: SegmentationData, part: Part, fold: int) -> PairList:
    held_out = part == "val" and data.val_classes(fold)
    return pair_list(data, "held_out" if held_out else part, fold)


def _training_images(data: SegmentationData, part: Part, fold: int) -> PairList:
    """List training images of any size for the test: class by class, in the order of their names."""

    def make() -> PairList:
        names = data.candidates("trn")
        data.count_pixels("trn", names)
        classes = PANET.classes(data, fold)
        shown = {name: data.class_pixels(name)[0] for name in names}
        return PairList(tuple((name, n) for n in classes for name in names if shown[name].get(n)), DERIVED)

    if part == "trn":
        raise SettingsError("PANet's lists have no part to train on here; test a method without training (--ckpt FILE)")
    return kept_list(data, "panet-val", fold, make)


def _mlc(data: SegmentationData, part: Part, fold: int) -> PairList:
    """List val images with a large enough class of the fold; the pairs name every class that they show."""

    def make() -> PairList:
        names = ImageLists.of(data).image_order("val")
        data.count_pixels("val", names)
        classes = MLC.classes(data, fold)
        pairs: list[Pair] = []
        for name in names:
            pixels = data.class_pixels(name)[0]
            if any(pixels.get(number, 0) >= data.min_pixels for number in classes):
                pairs += [(name, number) for number in classes if pixels.get(number)]
        return PairList(tuple(pairs), DERIVED)

    if part == "trn":
        raise SettingsError("MLC's lists have no part to train on here; test a method without training (--ckpt FILE)")
    return kept_list(data, "mlc-val", fold, make)


HSNET = Lists(_hsnet)
HELD_OUT = Lists(_held_out, held_out=True)
PFENET = Lists(image_list, by_image=True, filter_novel=True, unfiltered=unfiltered_image_list)
MLC = Lists(_mlc, by_image=True, blocks=True, trains=False, least_support=True)
PANET = Lists(_training_images, blocks=True, trains=False)
PATCHES = Lists(large_object_list, by_image=True, filter_novel=None, unfiltered=unfiltered_image_list)
IN_FOLDS = Lists(_hsnet, trains=False)
