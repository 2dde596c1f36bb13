"""Check a folder of chest X-rays of both hospitals."""

from pathlib import Path

from fsbench.datamodules.check.listed_masks import check_listed
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.lung.prepare import EVERY
from fsbench.datamodules.datasets.lung_all.index import LungAll


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images and masks in `root`; there are no lists."""
    check_listed(report, lambda: LungAll(str(root)), total=EVERY)
