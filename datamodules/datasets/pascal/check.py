"""Check a folder of VOC 2012 with SBD."""

from pathlib import Path

from fsbench.base.files import is_file
from fsbench.data.dataset import Pair
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.datamodules.check.lists import check_lists, split_list
from fsbench.datamodules.check.media import check_files, report_absent
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.indexes.mask_folder import read_names
from fsbench.datamodules.lists.official import default_lists
from fsbench.protocols.draws.pair_lists import pair_list

_LABELS, _VAL, _TRAIN = 12031, 1449, 1464
"""Label maps, validation names and training names of the official data."""
PAIRS_OF_CLASSES = {
    "val": (
        80, 57, 86, 58, 65, 69, 96, 115, 102, 69, 74, 125, 76, 72, 378, 58, 49, 90, 82, 67,
    ),
    "trn": (
        528, 428, 583, 371, 376, 367, 848, 987, 988, 235, 504, 1122, 430, 440, 3387, 358, 277, 487, 488, 476,
    ),
}  # fmt: skip
"""Split -> number of pairs of class 1, 2, … in the official lists (fscs-protocol §2.1)."""


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images, label maps and lists in `root`; `lists` are folders of released lists."""
    index = report.attempt("folders", lambda: Pascal(str(root), lists=[]))
    if index is None:
        return
    report.ok("folders", str(index.root))
    files = report.attempt("photos", lambda: index._image_files)
    if files is None:
        return
    labels = index.label_names()
    report.ok("photos", f"{len(files)} in JPEGImages; VOC 2012 has 17125, of which {_LABELS} have label maps")
    report.count("label maps", len(labels), _LABELS, "in SegmentationClassAug")
    absent = [f"{name}.jpg" for name in labels if name not in files]
    report_absent(report, "photos", absent, "one in JPEGImages for each label map")
    both = [name for name in labels if name in files]
    check_files(
        report,
        "photos, label maps",
        both,
        lambda name: (index.image_path(name), index.label_file(name)),
        index.label_map,
    )
    for name, official in (("val", _VAL), ("train", _TRAIN)):
        path = index.root / "ImageSets/Segmentation" / f"{name}.txt"
        listed = report.attempt(f"{name}.txt", lambda path=path: read_names(path)) if path.is_file() else None  # type: ignore[misc]
        if listed is not None:
            report.count(f"{name}.txt", len(listed), official, "names")
            unlabelled = [f"{entry}.png" for entry in listed if not is_file(index.label_file(entry))]
            report_absent(report, f"{name}.txt", unlabelled, "a label map for each name")
        elif name == "val" and not path.is_file():
            report.problem("val.txt", f"{path} does not exist; expected the {_VAL} validation names of VOC 2012")
    if report.usable:
        folders = default_lists(lists, root, index.root)

        def derived(split: str, fold: int) -> tuple[Pair, ...]:
            """Return the list with the fold's own classes, which the official training files hold."""
            if split != "trn":
                return split_list(index, split, fold).pairs
            classes = index.test_classes(fold)
            joined = pair_list(index, "trn", (fold + 1) % index.folds).pairs
            return tuple(pair for pair in joined if pair[1] in classes)

        splits = ("trn", "val", *SIZE_BINS, "pfenet-trn", "pfenet-val")
        check_lists(report, index, derived, splits, folders, PAIRS_OF_CLASSES)
