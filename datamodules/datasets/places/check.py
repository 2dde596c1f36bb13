"""Check Places365-Standard."""

from pathlib import Path

from fsbench.datamodules.check.labelled_images import check_images
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.places import Places


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on the list and the images in `root`; `lists` may name a list file."""
    check_images(Places, report, root, lists)
