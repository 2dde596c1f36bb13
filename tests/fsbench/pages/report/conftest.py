"""The study that tests of scores and of the page in a browser look at."""

from pathlib import Path

import pytest

from fsbench.cli.main import main
from fsbench.pages.report.collect import Study, collect
from fsbench.pages.report.workers import SerialExecutor
from fsbench.records.record import find_records
from tests.fsbench.pages.report.studies import write_study

METHODS = {"good (steps 5)": 0.7, "good (steps 1)": 0.69, "=fair": 0.6, "poor": 0.4}


@pytest.fixture(scope="session")
def study_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs of four methods on two folds of three classes each."""
    runs = tmp_path_factory.mktemp("study") / "runs"
    write_study(runs, METHODS, folds=2, classes=6, episodes=40)
    return runs


@pytest.fixture(scope="session")
def study(study_runs: Path) -> Study:
    """The study of these runs."""
    (study,) = collect(find_records(study_runs), ["mIoU", "FB-IoU", "accuracy"], SerialExecutor())
    return study


@pytest.fixture(scope="session")
def study_pages(study_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the report of these runs."""
    out = tmp_path_factory.mktemp("site") / "r"
    assert main(["report", str(study_runs), "--out", str(out)]) == 0
    return out
