"""Check a folder of PASCAL-Part."""

from pathlib import Path

from fsbench.datamodules.check.report import Report
from fsbench.datamodules.check.views import LoggedRuns, check_views
from fsbench.datamodules.datasets.pascal_part import PascalPart

LOGGED = LoggedRuns(classes={1: (31, 4, 5, 16)}, episodes=(2500, 959, 2500, 2500))


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on annotation files and photos in `root`; there are no lists."""
    check_views(PascalPart, LOGGED, report, root)
