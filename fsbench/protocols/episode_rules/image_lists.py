"""Lists of images that PFENet, BAM, HMNet and R2Net go through: a rule for each, applied to any data set.

An image enters with each class of which it shows enough (hmnet.md §11.1, pfenet-method.md §5, isaid-protocol §3).
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsbench.data.dataset import DERIVED, Pair, PairList, Part, SegmentationData
from fsbench.protocols.episode_rules.pair_lists import kept_list, note_derived
from fsbench.protocols.provider import Provider

LEAST = 2 * 32 * 32
"""Pixels of a class for which PFENet's lists name an image; where a data set has a smallest object of its own, that."""


@dataclass(frozen=True)
class ReleasedImages:
    """Published image list of one fold of a program that draws like PFENet's.

    Attributes:
        path: file of the list.
        names: image names in list order.
        members: the list's (image, class) pairs, from a second published file; None if only the image names were
            published.
    """

    path: Path
    names: tuple[str, ...]
    members: frozenset[Pair] | None


class ImageLists(Provider):
    """Image lists of a data set for programs that draw like PFENet's: an image first, then one of its classes."""

    data: SegmentationData

    def image_order(self, part: Part) -> Sequence[str]:
        """Return the image names of `part` ("trn" or "val") in the order in which PFENet-like programs list them."""
        return self.data.candidates(part)

    def released(self, part: Part, fold: int) -> ReleasedImages | None:
        """Return the published image list of a part and fold; None if it must be derived."""
        return None

    def origin(self, pairs: tuple[Pair, ...], part: Part, fold: int, released: ReleasedImages | None) -> str:
        """Return in words how (image, class) pairs compare with a published list, such as "official" or "derived".

        Raises:
            DataError: the pairs contradict the published list `released`.
        """
        return self.data.list_origin(pairs, f"pfenet-{part}", fold)


def image_list(data: SegmentationData, part: Part, fold: int, pixels: int = LEAST) -> PairList:
    """Return the (image, class) list of PFENet-like programs: images in list order, each image's classes ascending.

    Training images that show a novel class are left out (hmnet.md §11.1).

    Args:
        data: the data set.
        part: "trn" for the base classes in training images, "val" for the novel ones in test images.
        fold: fold of the data set.
        pixels: an image is listed for a class of which it has this many pixels or more; scaled if the data set's
            smallest object is not `LEAST`. Published lists are used only for `LEAST`.
    """
    if pixels == LEAST:
        return kept_list(data, f"pfenet-{part}", fold, lambda: _image_list(data, part, fold))
    return kept_list(data, f"pfenet-{part} of {pixels} pixels", fold, lambda: _resized_list(data, part, fold, pixels))


def _resized_list(data: SegmentationData, part: Part, fold: int, pixels: int) -> PairList:
    names = ImageLists.of(data).image_order(part)
    data.count_pixels(part, names)
    classes, unwanted = _classes(data, part, fold)
    return PairList(pairs_by_pixels(names, classes, unwanted, data.class_pixels, _least(data, pixels)), DERIVED)


def _least(data: SegmentationData, pixels: int) -> int:
    return -(-pixels * data.min_pixels // LEAST)


def _image_list(data: SegmentationData, part: Part, fold: int) -> PairList:
    classes, unwanted = _classes(data, part, fold)
    lists = ImageLists.of(data)
    released = lists.released(part, fold)
    names = released.names if released else lists.image_order(part)
    if released and released.members is not None:
        members = released.members
        pairs = tuple((name, n) for name in names for n in sorted(classes) if (name, n) in members)
    else:
        data.count_pixels(part, names)
        pairs = pairs_by_pixels(names, classes, unwanted, data.class_pixels, data.min_pixels)
    origin = lists.origin(pairs, part, fold, released)
    if released is None:
        note_derived(data, part, f"pfenet-{part}", fold, origin)
    return PairList(pairs, origin)


def unfiltered_image_list(data: SegmentationData, part: Part, fold: int, pixels: int = LEAST) -> PairList:
    """Return PFENet's own training list, which keeps images with novel classes as background (pfenet-method.md §5).

    Args:
        data: the data set.
        part: "trn" for the base classes in training images, "val" for the novel ones in test images.
        fold: fold of the data set.
        pixels: an image is listed for a class of which it has this many pixels or more.
    """

    def make() -> PairList:
        names = ImageLists.of(data).image_order(part)
        data.count_pixels(part, names)
        pairs = pairs_by_pixels(names, data.train_classes(fold), (), data.class_pixels, _least(data, pixels))
        return PairList(pairs, DERIVED)

    size = "" if pixels == LEAST else f" of {pixels} pixels"
    return kept_list(data, f"pfenet-{part}{size}, with images of novel classes", fold, make)


def large_object_list(data: SegmentationData, part: Part, fold: int) -> PairList:
    """Return R2Net's (image, class) list: images in the order of their names, each image's classes ascending.

    A training image with a large object of another class is left out. The authors' program goes through a Python set of
    images, whose order differs between processes (isaid-protocol §3, §7).
    """

    def make() -> PairList:
        names = sorted(ImageLists.of(data).image_order(part))
        data.count_pixels(part, names)
        classes, unwanted = _classes(data, part, fold)
        least = max(data.min_pixels, 1)
        pairs = pairs_by_pixels(names, classes, unwanted, data.class_pixels, least, unwanted_from=least)
        return PairList(pairs, data.list_origin(pairs, f"r2net-{part}", fold))

    return kept_list(data, f"r2net-{part}", fold, make)


def _classes(data: SegmentationData, part: Part, fold: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the classes that a part is listed for, and those that its images must not show."""
    novel = data.test_classes(fold)
    return (data.train_classes(fold), novel) if part == "trn" else (novel, [])


def pairs_by_pixels(
    names: Iterable[str],
    classes: Sequence[int],
    unwanted: Collection[int],
    class_pixels: Callable[[str], tuple[dict[int, int], int]],
    min_pixels: int,
    unwanted_from: int = 1,
) -> tuple[Pair, ...]:
    """Return (image, class) pairs with at least `min_pixels` pixels of the class.

    Args:
        names: image names, in the order of the result.
        classes: class numbers, in the order of an image's pairs.
        unwanted: numbers of classes; images that show one of them are left out.
        class_pixels: function from an image name to ({label: its pixels}, number of all pixels).
        min_pixels: least number of pixels of a class.
        unwanted_from: an image is left out if it has this many pixels of an unwanted class or more.
    """
    pairs = []
    for name in names:
        pixels, _ = class_pixels(name)
        if not any(pixels.get(number, 0) >= unwanted_from for number in unwanted):
            pairs += [(name, number) for number in sorted(classes) if pixels.get(number, 0) >= max(min_pixels, 1)]
    return tuple(pairs)
