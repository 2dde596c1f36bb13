"""Check a folder of PACO-Part."""

from pathlib import Path

from fsbench.datamodules.check.report import Report
from fsbench.datamodules.check.views import LoggedRuns, check_views
from fsbench.datamodules.datasets.paco_part import PacoPart

LOGGED = LoggedRuns(classes={1: (79, 82, 66, 76)}, episodes=(2500,) * 4)


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on annotation files and photos in `root`; there are no lists."""
    check_views(PacoPart, LOGGED, report, root)
