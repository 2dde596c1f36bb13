"""Image lists that protocols share: one rule each, applied to any data set.

They are those of HSNet's and the FS-CS protocol, which are the same (fss-protocol §3, fscs-protocol §2). A data set
hands over candidates, pixel counts and published files, nothing else.
"""

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import cast
from weakref import WeakKeyDictionary

from fsbench.base.errors import DataError, SettingsError, known_names
from fsbench.data.dataset import DERIVED, VOID, Pair, PairList, Part, SegmentationData
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.list_substitutes import substitute_list

SPLITS = ("trn", "val", "held_out", *SIZE_BINS)
"""Names of the lists, see `pair_list`."""

_LISTS: "WeakKeyDictionary[SegmentationData, dict[tuple[str, int], PairList]]" = WeakKeyDictionary()
_PAIRS: "WeakKeyDictionary[SegmentationData, dict[Part, list[Pair]]]" = WeakKeyDictionary()


def pair_list(data: SegmentationData, split: str, fold: int) -> PairList:
    """Return the (image, class) list of a split and fold: the published one if it is here, else one by fsbench's rule.

    Args:
        data: the data set.
        split: "trn" (base classes in training images), "val" (novel classes in test images), a size bin of
            `SIZE_BINS` (a part of "val"), or "held_out" (classes reserved for choosing a checkpoint).
        fold: fold of the data set.

    Raises:
        SettingsError: unknown split or fold, or a split that the data set does not have.
        DataError: the data cannot be used, or no image qualifies.
    """
    if split not in SPLITS:
        raise SettingsError(f"unknown split {split!r}{known_names(split, SPLITS)}")
    data.check_fold(fold)
    if split == "held_out" and not data.val_classes(fold):
        raise SettingsError(f"{data.name} has no held-out classes; choose checkpoints on base or novel classes")
    return kept_list(data, split, fold, lambda: data.released_pairs(split, fold) or _derived_list(data, split, fold))


def kept_list(data: SegmentationData, split: str, fold: int, make: Callable[[], PairList]) -> PairList:
    """Return a data set's (image, class) list, made by `make` at the first call and then kept in memory.

    Args:
        data: the data set.
        split: name of the list, which with the fold is its key in memory.
        fold: fold of the data set.
        make: function without arguments that makes the list; errors that it raises are passed on.

    Raises:
        SettingsError: there is no such fold.
        DataError: no image qualifies.
    """
    data.check_fold(fold)
    lists = _LISTS.setdefault(data, {})
    if (split, fold) not in lists:
        pairs = make()
        if not pairs.pairs:
            raise DataError(
                f"no image of {data.name} qualifies for split {split} of fold {fold}; expected at least one large "
                "enough object of its classes; use another split or fold, or add images"
            )
        lists[split, fold] = pairs
    return lists[split, fold]


def without_other_classes(data: SegmentationData, names: Sequence[str], classes: Sequence[int]) -> list[str]:
    """Return the training images among `names` that show no class besides `classes`, in the given order."""
    data.count_pixels("trn", names)
    allowed = frozenset({*classes, 0, VOID})
    return [name for name in names if allowed.issuperset(n for n, k in data.class_pixels(name)[0].items() if k)]


def filtered_list(data: SegmentationData, fold: int, name: str, make: Callable[[], PairList]) -> PairList:
    """Return a training list without the images that show other classes than the base classes of `fold`.

    Args:
        data: the data set.
        fold: fold whose classes are novel.
        name: name of the list that is filtered.
        make: function without arguments that returns the unfiltered list.
    """

    def filtered() -> PairList:
        whole = make()
        names = list(dict.fromkeys(image for image, _ in whole.pairs))
        pure = set(without_other_classes(data, names, data.train_classes(fold)))
        return PairList(tuple(pair for pair in whole.pairs if pair[0] in pure), DERIVED)

    return kept_list(data, f"{name}, without images of novel classes", fold, filtered)


def _derived_list(data: SegmentationData, split: str, fold: int) -> PairList:
    pairs = _size_restricted(data, split, fold) if split in SIZE_BINS else _ordinary_pairs(data, split, fold)
    origin = data.list_origin(pairs, split, fold)
    note_derived(data, "val" if split in SIZE_BINS else cast(Part, split), split, fold, origin)
    return PairList(pairs, origin)


def note_derived(data: SegmentationData, part: Part, split: str, fold: int, origin: str) -> None:
    """Print a note that a list by fsbench's rule replaces a published one, unless `origin` says that both are equal."""
    if data.has_published_list(split, fold) and not origin.startswith("official"):
        substitute_list(data, part, f"the authors' list {split}", f"one by a rule of the suite ({origin})")


def _listed_pairs(data: SegmentationData, part: Part) -> Sequence[Pair]:
    """Return every pair of `part` that is large enough, of all classes: the lists of all folds are taken from it."""
    parts = _PAIRS.setdefault(data, {})
    if part not in parts:
        parts[part] = list(data.listed_pairs(part))
    return parts[part]


def _ordinary_pairs(data: SegmentationData, split: str, fold: int) -> tuple[Pair, ...]:
    """Return the pairs of `split` that are large enough, training pairs class by class."""
    classes = {"trn": data.train_classes, "val": data.test_classes, "held_out": data.val_classes}[split](fold)
    wanted = frozenset(classes)
    pairs = [pair for pair in _listed_pairs(data, cast(Part, split)) if pair[1] in wanted]
    by_image = split == "val" and data.list_order == "image"
    return tuple(sorted(pairs) if by_image else sorted(pairs, key=lambda pair: (pair[1], pair[0])))


def _size_restricted(data: SegmentationData, size: str, fold: int) -> tuple[Pair, ...]:
    """Return the test pairs whose class covers a share of its image inside the bin `size`, in the same order."""
    lower, upper = SIZE_BINS[size]
    pairs = pair_list(data, "val", fold).pairs
    data.count_pixels("val", sorted({name for name, _ in pairs}))

    def share(name: str, number: int) -> float:
        pixels, total = data.class_pixels(name)
        return pixels.get(number, 0) / total

    return tuple(pair for pair in pairs if lower <= share(*pair) < upper)


def base_validation_pairs(
    data: SegmentationData, fold: int, pairs: Callable[[SegmentationData, Part, int], PairList]
) -> PairList:
    """Return (image, class) pairs of base classes of `fold` in test images: other folds' test lists, interleaved.

    As they are interleaved, already the first episodes are about all base classes.

    Args:
        data: the data set.
        fold: fold whose classes are left out.
        pairs: function (data set, part, fold) -> (image, class) list, such as `pair_list`.

    Raises:
        SettingsError: the data set has only one fold.
    """
    lists = [pairs(data, "val", other) for other in range(data.folds) if other != fold]
    if not lists:
        raise SettingsError(f"{data.name} has one fold, so there are no base classes to validate on")
    origins = dict.fromkeys(one.origin for one in lists)
    turns = zip_longest(*(one.pairs for one in lists))
    return PairList(tuple(pair for turn in turns for pair in turn if pair is not None), ", ".join(origins))
