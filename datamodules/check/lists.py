"""Compare the class lists derived from the data with the official ones."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fsbench.base.errors import DataError
from fsbench.base.files import is_file
from fsbench.data.dataset import Pair, PairList, SegmentationData
from fsbench.data.published import checksums
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.lists.official import DERIVED, OFFICIAL, REORDERED, read_official, verdict
from fsbench.protocols.episode_rules.image_lists import image_list
from fsbench.protocols.episode_rules.pair_lists import pair_list

DerivedPairs = Callable[[str, int], tuple[Pair, ...]]
"""Function (split, fold) -> derived pairs of the classes that the official file of this name holds."""


def split_list(data: SegmentationData, split: str, fold: int) -> PairList:
    """Return a data set's (image, class) list by its name in `official.csv`; "pfenet-trn" is PFENet's training list."""
    if not split.startswith("pfenet-"):
        return pair_list(data, split, fold)
    return image_list(data, "trn" if split == "pfenet-trn" else "val", fold)


def check_lists(
    report: Report,
    data: SegmentationData,
    derived: DerivedPairs,
    splits: Sequence[str],
    folders: Sequence[str | Path],
    per_class: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> None:
    """Report the size of each (image, class) list, and whether it equals the official list.

    Args:
        report: collects the findings.
        data: the data set.
        derived: gives the lists that follow from the data.
        splits: names of the lists to compare.
        folders: folders of published lists; if there are any, differing pairs are named.
        per_class: {list name: number of pairs of class 1, 2, … in the official lists of all folds}, where known.
    """
    for split in splits:
        for fold in range(data.folds):
            subject = f"list {split} fold {fold}"
            try:
                pairs = derived(split, fold)
            except DataError as error:
                if "qualifies" not in str(error):
                    report.problem(subject, str(error).splitlines()[0])
                    continue
                pairs = ()
            _compare(report, subject, data, split, fold, pairs, bool(folders))
            if folders:
                _compare_file(report, subject, data, split, fold, pairs, folders)
        if split in per_class:
            _compare_classes(report, data, derived, split, per_class[split])


def _compare(
    report: Report,
    subject: str,
    data: SegmentationData,
    split: str,
    fold: int,
    pairs: tuple[Pair, ...],
    with_files: bool,
) -> None:
    """Report whether `pairs` have the official number and checksum; `with_files` leaves their order to the file."""
    known = checksums(data.name).get((split, fold))
    images = len({name for name, _ in pairs})
    text = f"{len(pairs)} pairs, {images} images"
    if known is None:
        report.ok(subject, f"{text}; the official list is not known")
        return
    outcome = verdict(pairs, data.name, split, fold)
    if outcome == DERIVED:
        report.differs(subject, f"{text}; the official list has {known.pairs} and {known.images}")
    elif outcome == REORDERED and not with_files:
        report.differs(
            subject, f"{text}: the official set; its order, which decides the episodes, is in the released file"
        )
    else:
        report.ok(subject, f"{text}: {'equal to the official list' if outcome == OFFICIAL else outcome}")


def _compare_file(
    report: Report,
    subject: str,
    data: SegmentationData,
    split: str,
    fold: int,
    pairs: tuple[Pair, ...],
    folders: Sequence[str | Path],
) -> None:
    """Report which pairs are in the released file only, and which in `pairs` only."""
    if split.startswith("pfenet"):
        return
    with report.errors(f"{subject}, file"):
        official = read_official(folders, data.name, split, fold)
        if official is None:
            report.ok(f"{subject}, file", "none given; ours is used")
            return
        theirs, ours = set(official.pairs), set(pairs)
        if theirs == ours:
            order = "equal" if official.pairs == pairs else "equal in another order; the file's is used"
            report.ok(f"{subject}, file", f"checksum right; {order}")
            return
        missing, extra = (
            sorted(f"{name} {number}" for name, number in diff) for diff in (theirs - ours, ours - theirs)
        )
        parts = [f"{len(missing)} pairs only there: {some(missing, 3)}"] * bool(missing)
        parts += [f"{len(extra)} only here: {some(extra, 3)}"] * bool(extra)
        report.differs(f"{subject}, file", "; ".join(parts))
        absent = sorted({name for name, _ in theirs - ours if not is_file(data.image_path(name))})
        if absent:
            report.problem(
                f"{subject}, file",
                f"names {len(absent)} images that are not there: {some(absent, 3)}; complete the data, or do without "
                "the lists",
            )


def _compare_classes(
    report: Report, data: SegmentationData, derived: DerivedPairs, split: str, official: Sequence[int]
) -> None:
    """Report the number of pairs of every class beside the official one."""
    counts = [0] * len(official)
    for fold in range(data.folds):
        with report.errors(f"classes of {split}"):
            for number, pairs in Counter(number for _, number in _pairs_or_none(derived, split, fold)).items():
                counts[number - 1] = pairs  # COCO has a training class in three folds, with the same images
    different = [
        f"{name} {ours} of {theirs}"
        for name, ours, theirs in zip(data.class_names, counts, official, strict=True)
        if ours != theirs
    ]
    subject = f"classes of {split}"
    if different:
        empty = [name for name, ours in zip(data.class_names, counts, strict=True) if not ours]
        report.differs(
            subject, f"{some(different, len(official))}" + (f"; without any image: {some(empty, 100)}" if empty else "")
        )
    else:
        report.ok(subject, " ".join(f"{name} {n}" for name, n in zip(data.class_names, counts, strict=True)))


def _pairs_or_none(derived: DerivedPairs, split: str, fold: int) -> tuple[Pair, ...]:
    """Return the derived pairs, none where they cannot be derived."""
    try:
        return derived(split, fold)
    except DataError:  # reported with the list itself
        return ()
