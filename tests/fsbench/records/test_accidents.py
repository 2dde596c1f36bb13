"""Accidents of a record's files, each told by name, by whoever opens the record; the sound runs beside it are shown."""

import json
from pathlib import Path

import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.records.predictions import FILE as PREDICTIONS
from fsbench.records.predictions import read_predictions
from fsbench.records.record import Record, find_distinct_records, read_record
from tests.fsbench.runs import rewrite


def cut(file: Path, other: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def edit(file: Path, other: Path) -> None:
    file.write_text(file.read_text().replace('"mine"', '"best"').replace('"fold":0', '"fold":1'))


def join(file: Path, other: Path) -> None:
    content, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(content[: len(content) // 2] + theirs[len(theirs) // 2 :] + theirs)


def swap(file: Path, other: Path) -> None:
    file.write_bytes(other.read_bytes() + b" " * 10_000)  # no shorter, whatever the writer of the parquet


ACCIDENTS = {
    "counts cut": ("episodes.parquet", cut, "it was cut"),
    "counts of another run": ("episodes.parquet", swap, "of another run"),
    "counts joined from two downloads": ("episodes.parquet", join, "or download"),
    "counts lost": ("episodes.parquet", lambda file, other: file.unlink(), "it is missing"),
    "manifest cut": ("manifest.jsonl", cut, "it was cut"),
    "manifest edited": ("manifest.jsonl", edit, "it was edited"),
    "manifest of another run": ("manifest.jsonl", swap, "of another run"),
    "run.json cut": ("run.json", cut, "cut"),
    "run.json edited": ("run.json", edit, "edited by hand"),
    "run.json joined from two": ("run.json", lambda file, other: mix_entries(file, other), "joined from two files"),
    "run.json of another run": ("run.json", lambda file, other: file.write_bytes(other.read_bytes()), "manifest.jsonl"),
}  # fmt: skip
"""Accident -> file, what happens to it given that of another run, and words of the sentence that tells it."""


def mix_entries(file: Path, other: Path) -> None:
    ours, theirs = (json.loads(one.read_text()) for one in (file, other))
    file.write_text(json.dumps(theirs | {"identity": ours["identity"]}))


@pytest.fixture
def two(make) -> tuple[Record, Record]:
    return make("mine", 0, 2, keep="masks"), make("other", 0, 3, keep="masks", seed=1, shot=2)


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident_is_told_by_table_and_report(two, make, tmp_path, capsys, name):
    file, happen, words = ACCIDENTS[name]
    (mine, other), sound = two, make("sound", 0)
    happen(mine.path / file, other.path / file)
    with pytest.raises(RecordError) as refusal:
        read_record(mine.path)
    assert words in str(refusal.value) and "\n" not in str(refusal.value) and refusal.value.folder == mine.path
    folders = str(mine.path), str(sound.path)
    for command in (["table", *folders], ["report", *folders, "--out", str(tmp_path / "pages")]):
        assert main(command) == 1
        shown = capsys.readouterr()
        assert str(refusal.value) in shown.err and "Traceback" not in shown.err
    assert "sound" in shown.out + (tmp_path / "pages/index.html").read_text()


def test_predictions_are_checked_where_they_are_read(two):
    mine, other = two
    assert read_predictions(mine) is not None
    mine.check_files()
    swap(mine.path / PREDICTIONS, other.path / PREDICTIONS)
    assert read_record(mine.path) is not None  # tables do without them
    for read in (read_predictions, Record.check_files):
        with pytest.raises(RecordError, match="of another run"):
            read(mine)
    (mine.path / PREDICTIONS).unlink()
    mine.check_files()
    assert read_predictions(mine) is None


def test_two_copies_of_a_run_with_other_counts_are_told(make, tmp_path):
    first, second = (rewrite(make("m", 0, quality), id="m-1") for quality in (2, 3))
    assert [one.path for one in find_distinct_records([first.path, first.path])] == [first.path]
    refused: list[str] = []
    assert find_distinct_records([first.path, second.path], refused) == [] and "with different counts" in refused[0]
    with pytest.raises(RecordError, match="different counts"):
        find_distinct_records([first.path, second.path])
