"""VOC 2012 with SBD."""

from pathlib import Path

from datamodules.check.lists import check_lists
from datamodules.check.media import check_files, report_absent
from datamodules.check.report import Report
from datamodules.mask_folder import read_names
from datamodules.official_lists import default_lists
from datamodules.pascal import Pascal
from fsbench.annotations import SIZE_BINS, Pair

_LABELS, _VAL, _TRAIN = 12031, 1449, 1464


def check(report: Report, root: Path, lists: list[str] | None) -> None:
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
    check_files(report, "photos, label maps", both, lambda name: (index.image_path(name), index.label_file(name)))
    for name, official in (("val", _VAL), ("train", _TRAIN)):
        path = index.root / "ImageSets/Segmentation" / f"{name}.txt"
        listed = report.attempt(f"{name}.txt", lambda path=path: read_names(path)) if path.is_file() else None  # type: ignore[misc]
        if listed is not None:
            report.count(f"{name}.txt", len(listed), official, "names")
            without = [f"{entry}.png" for entry in listed if not index.label_file(entry).is_file()]
            report_absent(report, f"{name}.txt", without, "a label map for each name")
        elif name == "val" and not path.is_file():
            report.problem("val.txt", f"{path} does not exist; expected the {_VAL} validation names of VOC 2012")
    if report.usable:
        folders = default_lists(lists, root, index.root)

        def own_classes(split: str, fold: int) -> tuple[Pair, ...]:
            if split != "trn":
                return index.pair_list(split, fold).pairs
            classes = index.test_classes(fold)
            joined = index.pair_list("trn", (fold + 1) % index.folds).pairs
            return tuple(pair for pair in joined if pair[1] in classes)

        check_lists(report, index, own_classes, ("trn", "val", *SIZE_BINS, "pfenet-trn", "pfenet-val"), folders)
