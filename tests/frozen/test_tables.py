"""Tables, comparisons and scores by other protocols of stored runs are those that were frozen."""

import os
from pathlib import Path

import pytest

from tests.frozen import tables
from tests.frozen.files import moved_entries, read_frozen, report
from tests.frozen.tables import COMMANDS, DIGITS, INTERVALS, SCORES, rounded


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tables.make_runs(tmp_path_factory.mktemp("frozen-runs"))


@pytest.mark.slow(2)
@pytest.mark.parametrize("name", COMMANDS)
def test_rows_are_as_they_were(name: str, runs: Path) -> None:
    now = tables.entries_of(name, runs)
    messages = []
    for group in (SCORES, INTERVALS):
        frozen = {key: value for key, value in read_frozen(group).items() if key.split(" ")[0] == name}
        if moved := moved_entries(frozen, now[group]):
            messages.append(report(group, moved))
    assert not messages, os.linesep.join(messages)


def test_every_command_is_frozen_and_few_are_refused() -> None:
    for group in (SCORES, INTERVALS):
        frozen = read_frozen(group)
        assert {key.split(" ")[0] for key in frozen} == set(COMMANDS)
        assert sum(value == "refused" for value in frozen.values()) <= 6


def test_a_digit_is_kept_and_rounding_is_not() -> None:
    for group, step in ((SCORES, 1e-9), (INTERVALS, 1e-5)):
        one = {"mIoU": [50.0, {"p": 0.25}]}
        assert rounded(one, DIGITS[group]) == rounded({"mIoU": [50.0 + 1e-14, {"p": 0.25}]}, DIGITS[group])
        assert rounded(one, DIGITS[group]) != rounded({"mIoU": [50.0 + step, {"p": 0.25}]}, DIGITS[group])
