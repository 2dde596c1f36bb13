"""The episodes of every protocol on every small data set are those that were frozen."""

import os
from pathlib import Path

import pytest

from tests.frozen import manifests, suite
from tests.frozen.data_sets import SETS
from tests.frozen.files import moved_entries, read_frozen, report


def _marks(name: str) -> list[pytest.MarkDecorator]:
    seconds = SETS[name].seconds
    return [] if seconds is None else [pytest.mark.slow(seconds)]


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in SETS])
def test_episodes_are_as_they_were(name: str, tmp_path: Path) -> None:
    samples = os.environ.get("FSBENCH_TEST_DATA")
    if SETS[name].samples and not samples:
        pytest.skip(f"{name} needs the samples: FSBENCH_TEST_DATA names no folder")
    now = manifests.entries_of(name, tmp_path, Path(samples or ""))
    frozen = {key: value for key, value in read_frozen(manifests.GROUP).items() if key.split(" ")[0] == name}
    moved = moved_entries(frozen, now)
    assert not moved, report(manifests.GROUP, moved)


def test_every_data_set_is_frozen() -> None:
    assert {frozen_set.dataset for frozen_set in SETS.values()} == set(suite.data_set_names())
    assert {key.split(" ")[0] for key in read_frozen(manifests.GROUP)} == set(SETS)


def test_refusals_of_a_whole_protocol_are_one_entry() -> None:
    refused = {"demo bam fold=0": "refused A", "demo bam fold=1": "refused A"}
    mixed = {"demo fscs fold=0": "refused A", "demo fscs fold=1": "refused B"}
    assert manifests.joined(refused | mixed) == {"demo bam all 2": "refused A"} | mixed
    drawn = refused | {"demo bam fold=1": "9 a b"}
    assert manifests.joined(drawn) == drawn


def test_an_exchanged_support_and_another_header_are_found() -> None:
    drawn = suite.DrawnTest("a" * 64, [["q1", [["s1", "s2"]], [1], 0, []], ["q2", [["s1", "s3"]], [2], 0, []]])
    exchanged = drawn._replace(episodes=[["q1", [["s2", "s1"]], [1], 0, []], drawn.episodes[1]])
    order = drawn._replace(episodes=drawn.episodes[::-1])
    header = drawn._replace(sha256="b" * 64)
    values = [manifests.value(one) for one in (drawn, exchanged, order, header)]
    assert len(set(values)) == 4
    assert [value.split()[1] for value in values[:3]] == ["a" * 16] * 3
    assert values[3].split()[2] == values[0].split()[2]
