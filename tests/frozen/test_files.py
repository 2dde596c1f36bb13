"""Comparison of frozen entries: whatever moved is named, with what it was and is."""

from pathlib import Path

import pytest

from tests.frozen import files
from tests.frozen.files import moved_entries, read_frozen, report, write_frozen

FROZEN = {"a 1": "10 x", "b 2": "refused DataError", "c 3": "7 y"}


def test_nothing_moved() -> None:
    assert moved_entries(FROZEN, dict(FROZEN)) == []


def test_changed_absent_and_new_entries_are_named() -> None:
    now = {"a 1": "10 z", "c 3": "7 y", "d 4": "1 w"}
    assert moved_entries(FROZEN, now) == [
        "a 1: was 10 x, is 10 z",
        "b 2: was refused DataError, is absent",
        "d 4: was absent, is 1 w",
    ]
    assert moved_entries(FROZEN, now, lambda old, new: True)[0].startswith("b 2")


def test_a_failure_says_which_commands_show_and_freeze() -> None:
    text = report("scores", [f"row {number}: was 1, is 2" for number in range(50)])
    assert "50 entries of scores.txt moved" in text and "row 39: was 1, is 2" in text and "and 10 more" in text
    assert "python -m tests.frozen scores --write" in text


def test_a_file_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    assert read_frozen("some") == {}
    write_frozen("some", "About it.\n\nMore.", FROZEN)
    assert read_frozen("some") == FROZEN
    lines = (tmp_path / "some.txt").read_text().splitlines()
    assert lines[:3] == ["# About it.", "#", "# More."] and lines[3:] == sorted(lines[3:])
    (tmp_path / "some.txt").write_text("a\t1\na\t2\n")
    with pytest.raises(ValueError, match=r"some\.txt:2 is 'a\\t2', expected a new key"):
        read_frozen("some")
