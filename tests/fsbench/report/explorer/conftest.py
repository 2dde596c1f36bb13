"""Reports whose runs kept their predictions, with their data at hand."""

from contextlib import contextmanager
from functools import partial

import pytest

from datamodules.datasets.folder import Folder
from fsbench.cli.main import main
from tests.fsbench.conftest import record_maker

ATTENDS = "similarity to <b>columns</b>"


@pytest.fixture
def index(blocks_folder):
    """The data set of all runs."""
    return Folder(str(blocks_folder))


def write_report(data, runs, *arguments):
    """Write runs of two methods on two folds, of two ways each, where there are none; return the folder of their
    report's table. Only m0 has attention, and its meaning is to be shown as it is."""
    if not any(runs.glob("m*/run.json")):
        make = record_maker(data, runs)
        for number, fold in ((0, 0), (1, 0), (0, 1), (1, 1)):
            kept = {"keep": "soft", "attends": "" if number else ATTENDS}
            record = make(f"m{number}", fold, quality=2 + 3 * number, wrong=6 * number, way=2, **kept)
            (record.path / "config.yaml").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsbench.engine.stored_data.open_dataset", lambda record: Folder(str(data)))
        assert main(["report", str(runs), "--out", str(runs / "r"), *arguments]) == 0
    return runs / "r/study-1"


@pytest.fixture
def explored(blocks_folder, tmp_path):
    """explored(*arguments) -> the folder of the table in a report of the test's own."""
    return partial(write_report, blocks_folder, tmp_path)


@pytest.fixture(scope="session")
def study(blocks_folder, tmp_path_factory):
    """The folder of the table in the report that all tests read, two levels below that of the runs."""
    return write_report(blocks_folder, tmp_path_factory.mktemp("explored"), "--photo-side", "40")


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
