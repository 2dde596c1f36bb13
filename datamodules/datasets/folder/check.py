"""Check a user's folder with a folds.yaml; there are no official data to compare it with."""

from collections import Counter
from pathlib import Path

from fsbench.base.files.names import other_case
from fsbench.datamodules.check.media import check_files, report_absent
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.indexes.mask_folder import IMAGE_SUFFIXES, read_names
from fsbench.protocols.draws.pair_lists import pair_list


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images, label maps and lists in `root`; `lists` is not used."""
    report.complete = "usable"
    index = report.attempt("folds.yaml", lambda: Folder(str(root)))
    files = report.attempt("images", lambda: index._image_files) if index else None
    if index is None or files is None:
        return
    report.ok("folds.yaml", f"{index.name}: {len(index.class_numbers)} classes, {index.folds} folds")
    for split, path in index.list_files.items():
        names = report.attempt(f"{path.name}", lambda path=path: read_names(path))  # type: ignore[misc]
        if names is None:
            continue
        report.ok(path.name, f"{len(names)} names")
        images, labels = index.without_image(names), index.without_label_map(names)
        remark = other_case(index.image_path(images[0]), IMAGE_SUFFIXES) if images else ""
        report_absent(report, path.name, images, f"images in {index.image_folder}{remark}")
        remark = other_case(index.label_file(labels[0])) if labels else ""
        report_absent(report, path.name, labels, f"label maps in {index.label_folder}{remark}")
        both = [name for name in names if name not in {*images, *labels}]
        check_files(
            report,
            f"{split} images",
            both,
            lambda name: (index.image_path(name), index.label_file(name)),
            index.label_map,
            index.turns_images,
        )
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
