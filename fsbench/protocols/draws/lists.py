"""Lists: which images are asked for and which may be supports, a part for each word (atlas-runs.md §1 and §2)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fsbench.base.errors import SettingsError, known_names
from fsbench.data.dataset import DERIVED, Pair, PairList, Part, SegmentationData
from fsbench.protocols.draws.image_lists import LEAST as LEAST_PIXELS
from fsbench.protocols.draws.image_lists import ImageLists, image_list, large_object_list, unfiltered_image_list
from fsbench.protocols.draws.pair_lists import kept_list, pair_list
from fsbench.protocols.draws.pools import Pool

Pairs = Callable[[SegmentationData, Part, int], PairList]


@dataclass(frozen=True)
class Lists:
    """Rule that makes a test's lists of images.

    Attributes:
        words: the rule in words, such as "training images that show the class".
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
        atlas: the word under which the atlas (table of published programs) has these lists; "" if that is the rule's
            own name.
    """

    words: str
    pairs: Pairs
    by_image: bool = False
    blocks: bool = False
    trains: bool = True
    filter_novel: bool | None = False
    unfiltered: Pairs | None = None
    least_support: bool = False
    held_out: bool = False
    atlas: str = ""

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
        classes = ATLAS["panet"].classes(data, fold)
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
        classes = ATLAS["mlc"].classes(data, fold)
        pairs: list[Pair] = []
        for name in names:
            pixels = data.class_pixels(name)[0]
            if any(pixels.get(number, 0) >= data.min_pixels for number in classes):
                pairs += [(name, number) for number in classes if pixels.get(number)]
        return PairList(tuple(pairs), DERIVED)

    if part == "trn":
        raise SettingsError("MLC's lists have no part to train on here; test a method without training (--ckpt FILE)")
    return kept_list(data, "mlc-val", fold, make)


_OBJECTS = f"images with {LEAST_PIXELS} pixels of a class of the fold or more"
ATLAS: Mapping[str, Lists] = {
    "hsnet": Lists("pairs of an image and a class with a large enough object", _hsnet),
    "oslsm": Lists("pairs of an image and a class; on PASCAL those of HSNet", _hsnet),
    **{
        name: Lists(_OBJECTS, image_list, by_image=True, filter_novel=True, unfiltered=unfiltered_image_list)
        for name in ("pfenet", "bam")  # which differ in training alone
    },
    "mlc": Lists(
        f"{_OBJECTS}; supports are among them, a class below 2048 pixels is drawn again", _mlc, by_image=True,
        blocks=True, trains=False, least_support=True,
    ),
    "panet": Lists("training images that show the class", _training_images, blocks=True, trains=False),
    "folders": Lists("every file of a class's folder", _hsnet),
    "fss-1000 test": Lists("FSS-1000's 240 test classes", _hsnet),
    "fss-1000 val": Lists("FSS-1000's 240 validation classes", _held_out, held_out=True),
}  # fmt: skip
"""The lists by their words in the atlas."""
OWN: Mapping[str, Lists] = {
    "patches of 256": Lists("pairs of a patch and a class with a large enough object", _hsnet, atlas="own"),
    "folds of images": Lists("the images of a fold, class after class", _hsnet, trains=False, atlas="own"),
    "patches of 512": Lists(
        f"{_OBJECTS}, in the order of their names", large_object_list, by_image=True, filter_novel=None,
        unfiltered=unfiltered_image_list, atlas="own",
    ),
}  # fmt: skip
"""Lists of the suite's tests that are no words of the atlas."""
KNOWN: Mapping[str, Lists] = {**ATLAS, **OWN}

MIN_OBJECT_WORDS: Mapping[str, str] = {
    "none": "objects of any size",
    "by the list": "what the list has; the program looks at no sizes",
    "2048 by the list": "the list has pairs of 2048 pixels or more",
    "2048 query+support": "images of 2048 pixels of a class or more as queries and supports; the class of a query is "
    "drawn among all that it shows",
    "2048 list + support": "images with 2048 pixels of a class or more; the class of a query is drawn among all that "
    "it shows, a support has 2048 pixels of it",
}
"""Smallest objects of lists, with their sentences."""
LEAST: Mapping[str, tuple[str, ...]] = {
    "none": ("hsnet", "oslsm", "panet", "folders", "folds of images", "fss-1000 test", "fss-1000 val"),
    "by the list": ("hsnet", "oslsm", "patches of 256"),
    "2048 by the list": ("hsnet", "pfenet", "bam"),
    "2048 query+support": ("pfenet", "bam", "patches of 512"),
    "2048 list + support": ("mlc",),
}
"""Smallest object -> lists that have it: a size is a matter of the list, which the word only names."""
_ANY_SIZE = re.compile(r"([1-9]\d{0,8}) query\+support", re.ASCII)
"""A smallest object that PFENet's lists are made for, whatever its number of pixels."""
_SIZED = ("pfenet", "bam")


def lists_with(image_lists: str, min_object: str) -> Lists:
    """Return the rule for image lists of this name, with the smallest object that `min_object` states.

    Args:
        image_lists: name of the rule, a key of `KNOWN`.
        min_object: smallest object, in words that `check_least` accepts with it, such as "2048 query+support".
    """
    found, size = KNOWN[image_lists], _ANY_SIZE.fullmatch(min_object)
    if size is None or image_lists not in _SIZED or int(size[1]) == LEAST_PIXELS:
        return found
    pixels = int(size[1])
    return replace(
        found, words=_OBJECTS.replace(str(LEAST_PIXELS), str(pixels)), pairs=partial(image_list, pixels=pixels),
        unfiltered=partial(unfiltered_image_list, pixels=pixels),
    )  # fmt: skip


def check_known(image_lists: str) -> None:
    """Raise SettingsError if there is no rule for image lists of this name."""
    if image_lists not in KNOWN:
        known = known_names(image_lists, tuple(KNOWN))
        raise SettingsError(f"image_lists is '{image_lists}', of which there is no part{known}")


def check_least(image_lists: str, min_object: str) -> None:
    """Raise SettingsError if the image lists of this name cannot be made with this smallest size of objects."""
    fitting = LEAST.get(min_object, _SIZED if _ANY_SIZE.fullmatch(min_object) else None)
    if fitting is None:
        raise SettingsError(
            f"min_object '{min_object}' is no rule of these parts; expected one of {', '.join(LEAST)}, or "
            "<N> query+support with another number of pixels"
        )
    if image_lists not in fitting:
        raise SettingsError(
            f"image_lists '{image_lists}' and min_object '{min_object}' do not go together; expected one of the lists "
            f"{', '.join(fitting)} with this object, or another object"
        )
