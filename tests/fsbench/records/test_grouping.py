"""Runs of one method that differ in the fold only are one row; others stand apart, told by their settings."""

from pathlib import Path

import pytest

from fsbench.records.grouping import comparable, variants
from fsbench.records.record import Record
from tests.fsbench.runs import some_header, some_run


def test_tests_stand_by_ways_and_shots_as_numbers():
    tests = [("b", 1, 1), ("a", 1, 10), ("a", 1, 1), ("a", 10, 1), ("b", 1, 5), ("a", 1, 5), ("a", 2, 1)]
    records = []
    for number, (dataset, way, shot) in enumerate(tests):
        made = Record(Path(str(number)), some_run({"manifest_sha256": str(number)}, id=str(number)))
        made.__dict__["header"] = some_header(dataset=dataset, way=way, shot=shot)
        records.append(made)
    headers = [group[0].header for group in comparable(records)]
    assert [(header.dataset, header.way, header.shot) for header in headers] == [
        ("b", 1, 1), ("b", 1, 5), ("a", 1, 1), ("a", 1, 5), ("a", 1, 10), ("a", 2, 1), ("a", 10, 1),
    ]  # fmt: skip


def record(fold: int, part: str, sha256: str | None) -> Record:
    """A run whose method or data set is a class of a file with this content."""
    file = {} if sha256 is None else {"file_sha256": sha256}
    identity = {"method": {"name": "mine"}, "dataset": {"name": "d"}, "fold": fold, "manifest_sha256": f"{fold}"}
    identity[part] = identity[part] | file
    made = Record(Path(str(fold)), some_run(identity, id=f"mine-{fold}-{sha256}"))
    made.__dict__["header"] = some_header(fold=fold)
    return made


@pytest.mark.parametrize(("part", "words"), [("method", "method's file"), ("dataset", "data set's file")])
def test_two_versions_of_a_file_are_two_variants(part, words):
    before, after = "a" * 64, "b" * 64
    runs = [record(fold, part, sha256) for sha256 in (before, after) for fold in (0, 1)]
    assert variants(runs) == {
        f"mine ({words} aaaaaaaaaaaa)": runs[:2],
        f"mine ({words} bbbbbbbbbbbb)": runs[2:],
    }
    assert variants(runs[:2]) == {"mine": runs[:2]}
    assert variants([record(0, part, before), record(1, part, after)]).keys() == {
        f"mine ({words} aaaaaaaaaaaa)", f"mine ({words} bbbbbbbbbbbb)"
    }  # fmt: skip
