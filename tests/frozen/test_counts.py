"""The counts of methods on a few episodes are those that were frozen.

Classifiers are all run, and one method of masks that learns and one that does not: `make regress` holds every method of
masks against its accepted answers. `python -m tests.frozen counts` runs every method.
"""

import json
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.frozen import counts, suite
from tests.frozen.counts import Data, same, value
from tests.frozen.files import moved_entries, read_frozen, report


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return counts.draw_data(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="session")
def elsewhere_run() -> Iterator[Executor]:
    """A process of its own for all methods: after a backward pass, this one could fork no processes that train."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow(4)
@pytest.mark.parametrize(
    "method", [name for name in counts.case_names() if suite.is_classifier(name) or name in ("prototype", "emat")]
)
def test_counts_are_as_they_were(method: str, data: Data, elsewhere_run: Executor) -> None:
    frozen = {key: line for key, line in read_frozen(counts.GROUP).items() if key == method}
    moved = moved_entries(frozen, elsewhere_run.submit(counts.entries_of, method, data).result(), same)
    assert not moved, report(counts.GROUP, moved)


def test_every_method_is_frozen() -> None:
    assert set(read_frozen(counts.GROUP)) == set(counts.case_names())
    assert set(counts.ELSEWHERE) <= set(suite.method_names())


COUNTED = suite.Counted(
    ["episode", "slot", "class_id", "tp", "pred", "gt", "decided"],
    [[0, 0, 0, 50, 90, 70, 1], [0, 1, 3, 50, 90, 70, 1]],
    [0.7, 0.6],
    8,
)


def changed(row: int, column: str, by: int) -> suite.Counted:
    rows = [list(one) for one in COUNTED.rows]
    rows[row][COUNTED.columns.index(column)] += by
    return COUNTED._replace(rows=rows)


def elsewhere(counted: suite.Counted) -> str:
    """The value of counts that another machine made."""
    return json.dumps(json.loads(value(counted)) | {"machine": "another"})


def test_on_the_same_machine_a_single_pixel_is_found() -> None:
    assert same(value(COUNTED), value(COUNTED))
    assert not same(value(COUNTED), value(changed(1, "tp", 1)))
    assert not same(value(COUNTED), value(COUNTED._replace(losses=[0.7, 0.6000001])))


def test_on_another_machine_counts_may_differ_by_the_pixels_of_the_method_and_the_truth_not_at_all() -> None:
    assert same(value(COUNTED), elsewhere(COUNTED))
    assert same(value(COUNTED), elsewhere(changed(1, "pred", 8)))
    assert not same(value(COUNTED), elsewhere(changed(1, "pred", 9)))
    for column in ("episode", "slot", "class_id", "gt", "decided"):
        assert not same(value(COUNTED), elsewhere(changed(0, column, 1)))
    assert same(value(COUNTED), elsewhere(COUNTED._replace(losses=[0.7, 0.6001])))
    assert not same(value(COUNTED), elsewhere(COUNTED._replace(losses=[0.7, 0.601])))
    assert not same(value(COUNTED), elsewhere(COUNTED._replace(rows=COUNTED.rows[:1])))
    assert not same(value(COUNTED), elsewhere(COUNTED._replace(columns=COUNTED.columns[::-1])))


def test_a_moved_count_is_named_with_its_method() -> None:
    (line,) = moved_entries({"emat": value(COUNTED)}, {"emat": value(changed(0, "tp", 20))}, same)
    assert line.startswith("emat: was {") and "[0,0,0,50,90,70,1]" in line and "[0,0,0,70,90,70,1]" in line
