"""Runs of one method that differ in the fold only are one row; others stand apart, told by their settings."""

from pathlib import Path
from typing import Any

import pytest

from fsbench.protocols.reading import load_protocol
from fsbench.records.grouping import comparable, variants
from fsbench.records.record import Record
from tests.fsbench.runs import some_header, some_run


def record(identity: dict[str, Any], **header: Any) -> Record:
    """Return a run of which nothing is written."""
    made = Record(Path("run"), some_run(identity))
    made.__dict__["header"] = some_header(**{"class_ids": [header.get("fold", 0) + 1]} | header)
    return made


def test_tests_stand_by_ways_and_shots_as_numbers():
    tests = [("b", 1, 1), ("a", 1, 10), ("a", 1, 1), ("a", 10, 1), ("b", 1, 5), ("a", 1, 5), ("a", 2, 1)]
    records = [
        record({"manifest_sha256": str(number)}, dataset=dataset, way=way, shot=shot)
        for number, (dataset, way, shot) in enumerate(tests)
    ]
    headers = [group[0].header for group in comparable(records)]
    assert [(header.dataset, header.way, header.shot) for header in headers] == [
        ("b", 1, 1), ("b", 1, 5), ("a", 1, 1), ("a", 1, 5), ("a", 1, 10), ("a", 2, 1), ("a", 10, 1),
    ]  # fmt: skip


def test_folds_of_a_test_of_every_image_are_one_test_and_a_trial_is_another():
    """As of iSAID-5i, whose folds have lists of other lengths."""
    lengths = [33, 20, 41]
    whole = [
        record({"manifest_sha256": str(fold)}, fold=fold, folds=3, requested=count, official_episodes=count)
        for fold, count in enumerate(lengths)
    ]
    trial = [
        record({"manifest_sha256": f"few {fold}"}, fold=fold, folds=3, requested=5, official_episodes=count)
        for fold, count in enumerate(lengths)
    ]
    assert comparable([*whole, *trial]) == [whole, trial]


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ({"own_list": True}, {"own_list": True}, True),
        ({"own_list": True}, {}, False),
        ({"own_list": True}, {"selection": {"name": "hard"}}, False),
        ({"own_list": True, "selection": {"name": "hard"}}, {"selection": {"name": "hard"}}, False),
        ({"selection": {"name": "hard", "of": "0"}}, {"selection": {"name": "hard", "of": "1"}}, True),
        ({"selection": {"name": "hard"}}, {"selection": {"name": "easy"}}, False),
        ({"selection": {"name": "hard"}}, {}, False),
        ({"selection": {}}, {}, False),
    ],
)
def test_folds_are_joined_where_both_are_of_one_kind_of_episodes(one, other, joined):
    """Episodes of the protocol, of a list of one's own and of a choice have a mean among their own kind alone."""
    folds = [record({"manifest_sha256": str(fold)}, fold=fold, **entries) for fold, entries in enumerate((one, other))]
    assert comparable(folds) == ([folds] if joined else [[folds[0]], [folds[1]]])


def test_a_title_tells_no_folds_number_as_that_of_all():
    whole = {"folds": 3, "requested": 33, "official_episodes": 33}
    assert load_protocol("isaid").title(some_header(**whole)).endswith("all episodes a fold")
    assert load_protocol("isaid").title(some_header(**whole | {"requested": 5})).endswith("5 episodes a fold")
    assert load_protocol("hsnet").title(some_header(**whole)).endswith("33 episodes a fold")


def of_file(fold: int, part: str, sha256: str) -> Record:
    """Return a run whose method or data set is a class of a file with this content."""
    identity = {"method": {"name": "mine"}, "dataset": {"name": "d"}, "fold": fold, "manifest_sha256": f"{fold}"}
    identity[part] = identity[part] | {"file_sha256": sha256}
    return record(identity, fold=fold)


@pytest.mark.parametrize(("part", "words"), [("method", "method's file"), ("dataset", "data set's file")])
def test_two_versions_of_a_file_are_two_variants(part, words):
    before, after = "a" * 64, "b" * 64
    runs = [of_file(fold, part, sha256) for sha256 in (before, after) for fold in (0, 1)]
    assert variants(runs) == {
        f"mine ({words} aaaaaaaaaaaa)": runs[:2],
        f"mine ({words} bbbbbbbbbbbb)": runs[2:],
    }
    assert variants(runs[:2]) == {"mine": runs[:2]}
    assert variants([of_file(0, part, before), of_file(1, part, after)]).keys() == {
        f"mine ({words} aaaaaaaaaaaa)", f"mine ({words} bbbbbbbbbbbb)"
    }  # fmt: skip
