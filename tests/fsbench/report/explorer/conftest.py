"""Reports whose runs kept their predictions, with their data at hand."""

import shutil
from contextlib import contextmanager

import pytest

from datamodules.datasets.folder import Folder
from fsbench.cli.main import main

ATTENDS = "similarity to <b>columns</b>"


@pytest.fixture
def index(blocks_folder):
    """The data set of all runs."""
    return Folder(str(blocks_folder))


@pytest.fixture
def explored(make, index, tmp_path, monkeypatch):
    """explored(*arguments) -> the folder of a report's first table: two methods on two folds, two ways. Only m0 has
    attention, and its meaning is to be shown as it is."""
    monkeypatch.setattr("fsbench.engine.stored_data.open_dataset", lambda record: index)
    for number, fold in ((0, 0), (1, 0), (0, 1), (1, 1)):
        attends = "" if number else ATTENDS
        record = make(f"m{number}", fold, quality=2 + 3 * number, wrong=6 * number, way=2, keep="soft", attends=attends)
        (record.path / "config.yaml").write_text("")

    def report(*arguments):
        assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), *arguments]) == 0
        return tmp_path / "r/study-1"

    return report


@pytest.fixture(scope="session")
def built():
    """The folder of the report that all tests read."""
    return []


@pytest.fixture
def study(built, request, tmp_path_factory):
    """A study's folder, made once."""
    if not built:
        folder = tmp_path_factory.mktemp("report") / "study-1"
        built.append(shutil.copytree(request.getfixturevalue("explored")(), folder))
    return built[0]


@pytest.fixture
def reading(chromium, study):
    """reading(hash, **context) -> a context with a Reader of the page."""
    # needs playwright, which the tests of the data files do without
    from tests.fsbench.report.explorer.reader import Reader
    from tests.fsbench.report.test_in_browser import opened

    @contextmanager
    def start(fragment="", **context):
        with opened(chromium, study / "explorer.html", fragment=fragment, **context) as page:
            yield Reader(page, study)

    return start
