"""Check a folder of all crops of DeepGlobe."""

from pathlib import Path

from fsbench.datamodules.check.listed_masks import check_listed
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.deepglobe_all.index import DeepGlobeAll


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on crops and masks in `root`; there are no lists."""
    check_listed(report, lambda: DeepGlobeAll(str(root)))
