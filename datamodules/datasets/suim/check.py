"""Check a folder of SUIM."""

from pathlib import Path

from fsbench.datamodules.check.listed_masks import check_listed
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.suim.index import Suim

MASKS = 3859
"""Masks with foreground that ABCDFSS states."""


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images and masks in `root`; there are no lists."""
    check_listed(report, lambda: Suim(str(root)), total=MASKS)
