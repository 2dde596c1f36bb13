"""Image lists of the protocols: one rule each, applied to any data set.

The lists of HSNet's and the FS-CS protocol are the same (fss-protocol §3, fscs-protocol §2); PFENet-like programs have
their own (hmnet.md §11.1). A data set hands over candidates, pixel counts and published files, nothing else.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import zip_longest
from typing import cast
from weakref import WeakKeyDictionary

from fsbench.data.dataset import Pair, PairList, Part, SegmentationIndex
from fsbench.episodes.settings import SIZE_BINS
from fsbench.errors import DataError, SettingsError
from fsbench.protocols.base import Protocol

SPLITS = ("trn", "val", "held_out", "pfenet-trn", "pfenet-val", *SIZE_BINS)
"""Names of the lists, see `pair_list`."""

_LISTS: "WeakKeyDictionary[SegmentationIndex, dict[tuple[str, int], PairList]]" = WeakKeyDictionary()


def pair_list(index: SegmentationIndex, split: str, fold: int) -> PairList:
    """Return the list `split` of `fold`: the published one where the data set has it, else by the protocol's rule.

    Args:
        index: the data set.
        split: "trn" (base classes in training images), "val" (novel classes in test images), a size bin of
            `SIZE_BINS` (a part of "val"), "held_out" (classes kept for choosing a checkpoint), or "pfenet-trn" and
            "pfenet-val" (the same parts for PFENet-like programs).
        fold: fold of the data set.

    Raises:
        SettingsError: unknown split or fold, or a split that the data set does not have.
        DataError: the data cannot be used, or no image qualifies.
    """
    if split not in SPLITS:
        raise SettingsError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    index.check_fold(fold)
    if split == "held_out" and not index.val_classes(fold):
        raise SettingsError(f"{index.name} has no held-out classes; choose checkpoints on base or novel classes")
    lists = _LISTS.setdefault(index, {})
    if (split, fold) not in lists:
        pairs = index.released_pairs(split, fold) or _derived_list(index, split, fold)
        if not pairs.pairs:
            raise DataError(
                f"no image of {index.name} qualifies for split {split} of fold {fold}; expected at least one large "
                "enough object of its classes; use another split or fold, or add images"
            )
        lists[split, fold] = pairs
    return lists[split, fold]


def _derived_list(index: SegmentationIndex, split: str, fold: int) -> PairList:
    if split.startswith("pfenet-"):
        return _pfenet_list(index, split, fold)
    pairs = _size_restricted(index, split, fold) if split in SIZE_BINS else _ordinary_pairs(index, split, fold)
    return PairList(pairs, index.list_origin(pairs, split, fold))


def _ordinary_pairs(index: SegmentationIndex, split: str, fold: int) -> tuple[Pair, ...]:
    """Return the pairs of `split` that are large enough, training pairs class by class."""
    classes = {"trn": index.train_classes, "val": index.test_classes, "held_out": index.val_classes}[split](fold)
    wanted = frozenset(classes)
    pairs = [pair for pair in index.listed_pairs(cast(Part, split)) if pair[1] in wanted]
    by_image = split == "val" and index.list_order == "image"
    return tuple(sorted(pairs) if by_image else sorted(pairs, key=lambda pair: (pair[1], pair[0])))


def _size_restricted(index: SegmentationIndex, size: str, fold: int) -> tuple[Pair, ...]:
    """Return the test pairs whose class covers a share of its image inside the bin `size`, in the same order."""
    lower, upper = SIZE_BINS[size]
    pairs = pair_list(index, "val", fold).pairs
    index.count_pixels("val", sorted({name for name, _ in pairs}))

    def share(name: str, number: int) -> float:
        pixels, total = index.class_pixels(name)
        return pixels.get(number, 0) / total

    return tuple(pair for pair in pairs if lower <= share(*pair) < upper)


def _pfenet_list(index: SegmentationIndex, split: str, fold: int) -> PairList:
    """Return the list of PFENet-like programs: images in list order, the classes of an image ascending.

    Training images that show a novel class are left out (hmnet.md §11.1).
    """
    part: Part = "trn" if split == "pfenet-trn" else "val"
    novel = index.test_classes(fold)
    classes, unwanted = (index.train_classes(fold), novel) if part == "trn" else (novel, [])
    released = index.released_images(part, fold)
    names = released.names if released else index.image_order(part)
    if released and released.members is not None:
        members = released.members
        pairs = tuple((name, n) for name in names for n in sorted(classes) if (name, n) in members)
    else:
        index.count_pixels(part, names)
        pairs = pairs_by_pixels(names, classes, unwanted, index.class_pixels, index.min_pixels)
    return PairList(pairs, index.list_origin(pairs, split, fold, released.path if released else None))


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


def validation_split(protocol: Protocol) -> str:
    """Return the name of the protocol's list of novel classes in test images."""
    return "pfenet-val" if protocol.sampler == "pfenet" else "val"


def training_split(protocol: Protocol) -> str:
    """Return the name of the protocol's list of base classes in training images."""
    return "pfenet-trn" if protocol.sampler == "pfenet" else "trn"


def base_validation_pairs(index: SegmentationIndex, fold: int, split: str = "val") -> PairList:
    """Return the base classes of `fold` in test images: the lists `split` of the other folds, a pair of each in turn.

    The first episodes are thereby about all of these classes. Raises SettingsError for a data set of one fold.
    """
    lists = [pair_list(index, split, other) for other in range(index.folds) if other != fold]
    if not lists:
        raise SettingsError(f"{index.name} has one fold, so there are no base classes to validate on")
    origins = dict.fromkeys(pairs.origin for pairs in lists)
    turns = zip_longest(*(pairs.pairs for pairs in lists))
    return PairList(tuple(pair for turn in turns for pair in turn if pair is not None), ", ".join(origins))
