"""Check a folder of PACO-Part."""

from pathlib import Path

from datamodules.check.report import Report
from datamodules.check.views import LoggedRuns, check_views
from datamodules.datasets.paco_part import PacoPart

LOGGED = LoggedRuns(classes={1: (79, 82, 66, 76)}, episodes=(2500,) * 4)


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on annotation files and photos in `root`; there are no lists."""
    check_views(PacoPart, LOGGED, report, root)
