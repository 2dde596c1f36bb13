"""Check a folder of FSS-1000."""

from pathlib import Path

from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.datasets.fss1000.index import IMAGES_PER_CLASS, Fss1000, class_files, class_folder
from fsbench.datamodules.datasets.fss1000.lists import PARTS, SIZES, read_splits
from fsbench.datamodules.lists.official import OFFICIAL, default_lists
from fsbench.protocols.draws.pair_lists import pair_list

_CLASSES = 1000
"""Classes of the official data."""


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on classes, images and splits in `root`; `lists` are folders of released lists."""
    folder = report.attempt("folders", lambda: class_folder(root))
    files = report.attempt("folders", lambda: class_files(folder)) if folder else None
    if folder is None or files is None:
        return
    report.ok("folders", str(folder))
    report.count("classes", len(files), _CLASSES, "folders with images")
    empty = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and path.name not in {*files, "lists", "archives"}
    )
    if empty:
        report.differs("classes", f"{len(empty)} folders without images: {some(empty)}")
    numbers = range(1, IMAGES_PER_CLASS + 1)
    missing = [f"{name}/{n}" for name, present in sorted(files.items()) for n in numbers if n not in present]
    if missing:
        report.differs(
            "images", f"{len(missing)} missing: {some(missing)}; the official data have 1 to 10 of every class"
        )
    names = [f"{name}/{n}" for name, present in sorted(files.items()) for n in sorted(present)]
    check_files(report, "photos, masks", names, lambda name: (folder / f"{name}.jpg", folder / f"{name}.png"))
    _check_splits(report, root, folder, set(files), default_lists(lists, root, folder))


def _check_splits(report: Report, root: Path, folder: Path, present: set[str], lists: list[str]) -> None:
    """Report whether the classes in `folder` are those of the official splits."""
    splits = report.attempt("splits", lambda: read_splits(lists))
    if splits is None:
        if not lists:
            report.differs("splits", "no lists given: splits are drawn; the official ones cannot be derived")
            _check_index(report, root, [])
        return
    report.ok("splits", f"checksums of the {len(PARTS)} lists are right")
    for part in PARTS:
        absent = sorted(set(getattr(splits, part)) - present)
        if absent:
            report.differs(f"classes of {part}", f"{len(absent)} of {SIZES[part]} have no folder: {some(absent)}")
        else:
            report.ok(f"classes of {part}", f"{SIZES[part]}: equal to the official list")
    unlisted = sorted(present.difference(*(getattr(splits, part) for part in PARTS)))
    if unlisted:
        report.differs("classes", f"{len(unlisted)} folders of no listed class: {some(unlisted)}")
    _check_index(report, root, lists)


def _check_index(report: Report, root: Path, lists: list[str]) -> None:
    """Report the number of items of every split, as an evaluation gets them."""
    index = report.attempt("lists", lambda: Fss1000(str(root), lists))
    if index is None:
        return
    for split, part in (("trn", "trn"), ("held_out", "val"), ("val", "test")):
        if index.splits.numbers(part):
            pairs = report.attempt(f"list {part}", lambda split=split: pair_list(index, split, 0))  # type: ignore[misc]
            if pairs:
                text = f"items of {len(pairs.images_of)} classes"
                if pairs.origin == OFFICIAL:
                    report.count(f"list {part}", len(pairs.pairs), IMAGES_PER_CLASS * SIZES[part], text)
                else:
                    report.differs(f"list {part}", f"{len(pairs.pairs)} {text}, {pairs.origin}")
