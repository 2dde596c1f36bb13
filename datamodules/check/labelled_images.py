"""Check a data set for classification: its size against the official one, and whether its images can be read."""

from pathlib import Path

from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.indexes.labelled_images import LabelledImages


def check_images(kind: type[LabelledImages], report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on the list and the images of data set `kind` in `root`; `lists` may name a list file."""
    if kind.official is None:
        report.complete = "usable"
    index = report.attempt("list", lambda: kind(str(root), lists))
    if index is None:
        return
    classes, images = kind.official or (None, None)
    sizes = [len(of_class) for of_class in index.images]
    report.count("classes", len(sizes), classes, "classes")
    report.count("images", sum(sizes), images, f"images, {min(sizes)} to {max(sizes)} a class")
    names = [name for of_class in index.images for name in of_class]
    check_files(report, "files", names, lambda name: [index.image_path(name)], turns_images=kind.turns_images)
    report.ok("list", f"{index.origin}, sha256 {index.sha256}")
