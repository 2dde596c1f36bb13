"""Check a folder of chest X-rays."""

from pathlib import Path

from fsbench.datamodules.check.listed_masks import check_listed
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.lung.index import Lung
from fsbench.datamodules.datasets.lung.prepare import SHENZHEN


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images and masks in `root`; there are no lists."""
    check_listed(report, lambda: Lung(str(root)), total=SHENZHEN)
