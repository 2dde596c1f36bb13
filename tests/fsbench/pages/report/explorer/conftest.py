"""Reports whose runs kept their predictions, with their data at hand."""

from contextlib import contextmanager
from functools import partial

import pytest

from fsbench.cli.main import main
from fsbench.datamodules.datasets.folder import Folder
from tests.fsbench.conftest import record_maker

ATTENDS = "similarity to <b>columns</b>"


@pytest.fixture
def dataset(blocks_folder):
    """The data set of all runs."""
    return Folder(str(blocks_folder))


def write_report(data, runs, out, *arguments):
    """Write a report of runs whose data are at hand; return the folder of its table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsbench.runner.engine.stored_data.open_dataset", lambda record, **shared: Folder(str(data)))
        assert main(["report", str(runs), "--out", str(out), *arguments]) == 0
    return out / "study-1"


@pytest.fixture(scope="session")
def study(blocks_folder, tmp_path_factory):
    """The folder of the table in the report that all tests read, two levels below that of the runs: of two methods on
    two folds, of two ways each. Only m0 has attention, and its meaning is to be shown as it is."""
    runs = tmp_path_factory.mktemp("explored")
    make = record_maker(blocks_folder, runs)
    for number, fold in ((0, 0), (1, 0), (0, 1), (1, 1)):
        kept = {"keep": "soft", "attends": "" if number else ATTENDS}
        record = make(f"m{number}", fold, quality=2 + 3 * number, wrong=6 * number, way=2, **kept)
        (record.path / "config.yaml").write_text("")
    return write_report(blocks_folder, runs, runs / "r", "--photo-side", "40")


@pytest.fixture
def explored(blocks_folder, study, tmp_path):
    """explored(*arguments) -> the folder of the table in another report of the same runs."""
    return partial(write_report, blocks_folder, study.parents[1], tmp_path / "r", "--metrics", "mIoU")


@pytest.fixture
def reading(chromium, study):
    """reading(hash, **context) -> a context with a Reader of the page."""
    # needs playwright, which the tests of the data files do without
    from tests.fsbench.pages.report.explorer.reader import Reader
    from tests.fsbench.pages.report.test_in_browser import opened

    @contextmanager
    def start(fragment="", **context):
        with opened(chromium, study / "explorer.html", fragment=fragment, **context) as page:
            yield Reader(page, study)

    return start
