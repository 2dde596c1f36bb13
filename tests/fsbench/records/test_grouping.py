"""Runs of one method that differ in the fold only are one row; others stand apart, told by their settings."""

import hashlib
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


def of_file(folder: Path, content: str, fold: int = 0, part: str = "method", **entries: Any) -> Record:
    """Return a run whose method or data set is a class of the file `folder`/knn.py, which held `content`."""
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    identity = {"method": {"name": "knn"}, "dataset": {"name": "d"}, "fold": fold, "manifest_sha256": f"{fold}"}
    identity[part] = identity[part] | {"file_sha256": sha256}
    run = folder / f"{content}{fold}"
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text(f"run: {{{part}_file: '{folder / 'knn.py'}#sha256={sha256}'}}")
    made = Record(run, some_run(identity, id=f"run-{content}{fold}", **entries))
    made.__dict__["header"] = some_header(class_ids=[fold + 1], fold=fold)
    return made


def at(clock: str) -> dict[str, Any]:
    """Return the entries of a run that was finished at this time of this place."""
    return {"provenance": {"finished": f"2020-11-28T{clock}"}}


@pytest.mark.parametrize(("part", "lead"), [("method", ""), ("dataset", "knn.py ")])
def test_two_versions_of_a_file_are_told_by_what_it_holds_now_and_by_their_time(tmp_path, part, lead):
    old, new = (
        [of_file(tmp_path, content, fold, part, **at(clock)) for fold in (0, 1)]
        for content, clock in (("before", "10:49:03"), ("after", "10:49:59"))
    )
    assert variants(old) == {"knn": old}
    gone = {f"knn ({lead}of 28 Nov 2020, 10:49:59)": new, f"knn ({lead}of 28 Nov 2020, 10:49:03)": old}
    assert variants([*old, *new]) == gone
    (tmp_path / "knn.py").write_text("before")
    assert variants([*old, *new]).keys() == {"knn (knn.py as it is now)", f"knn ({lead}of 28 Nov 2020, 10:49:59)"}


def test_the_newest_version_comes_first_and_a_label_stands_in_place_of_its_time(tmp_path):
    old = of_file(tmp_path, "before", label="one neighbour", **at("10:49:03"))
    new = of_file(tmp_path, "after", **at("10:50:59"))
    assert [*variants([old, new])] == ["knn (of 28 Nov 2020, 10:50)", "knn (one neighbour)"]
    named = [of_file(tmp_path, "after", fold, label="b") for fold in (0, 1)]
    assert variants(named) == {"knn (b)": named}
    same = [of_file(tmp_path, content, label="same") for content in ("before", "after")]
    hashes = [record.flat_identity["method.file_sha256"][:12] for record in same]
    assert variants(same).keys() == {f"knn ({digits}, same)" for digits in hashes}
