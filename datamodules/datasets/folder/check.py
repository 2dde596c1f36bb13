"""Check a user's folder with a folds.yaml; there are no official data to compare it with."""

from collections import Counter
from pathlib import Path

from fsbench.datamodules.check.media import check_files, report_absent
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.indexes.mask_folder import read_names
from fsbench.protocols.lists import pair_list


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images, label maps and lists in `root`; `lists` is not used."""
    report.complete = "usable"
    index = report.attempt("folds.yaml", lambda: Folder(str(root)))
    files = report.attempt("images", lambda: index._image_files) if index else None
    if index is None or files is None:
        return
    report.ok("folds.yaml", f"{index.name}: {len(index.class_numbers)} classes, {index.folds} folds")
    labels = set(index.label_names())
    for split, path in index.list_files.items():
        names = report.attempt(f"{path.name}", lambda path=path: read_names(path))  # type: ignore[misc]
        if names is None:
            continue
        report.ok(path.name, f"{len(names)} names")
        report_absent(report, path.name, [n for n in names if n not in files], f"images in {index.image_folder}")
        report_absent(report, path.name, [n for n in names if n not in labels], f"label maps in {index.label_folder}")
        both = [name for name in names if name in files and name in labels]
        check_files(report, f"{split} images", both, lambda name: (index.image_path(name), index.label_file(name)))
    if not report.usable:
        return
    if not any(index.train_classes(fold) for fold in range(index.folds)):
        report.complete = "usable for tests: all classes are novel, so there is nothing to train on"
    for split in index.list_files:
        for fold in range(index.folds):
            subject = f"list {split} fold {fold}"
            if split == "trn" and not index.train_classes(fold):
                report.ok(subject, "no class to train on; for methods without training, and for trained checkpoints")
                continue
            pairs = report.attempt(subject, lambda split=split, fold=fold: pair_list(index, split, fold).pairs)  # type: ignore[misc]
            if pairs:
                counts = Counter(index.class_names[number - 1] for _, number in pairs)
                report.ok(subject, f"{len(pairs)} pairs: {', '.join(f'{name} {n}' for name, n in counts.items())}")
