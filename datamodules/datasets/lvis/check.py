"""Check a folder of LVIS-92i."""

from pathlib import Path

from datamodules.check.report import Report
from datamodules.check.views import LoggedRuns, check_views
from datamodules.datasets.lvis import Lvis

LOGGED = LoggedRuns(classes={1: (92,) * 10, 5: (68,) * 10}, episodes=(2300,) * 10)


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on annotation files and photos in `root`; there are no lists."""
    check_views(Lvis, LOGGED, report, root)
