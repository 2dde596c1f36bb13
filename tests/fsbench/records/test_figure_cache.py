"""Rows of tables that were made before, and tables of many runs."""

import json
import shutil
from dataclasses import asdict, replace

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.protocols.registry import load_protocol
from fsbench.records.record import Record, find_records
from fsbench.results.tables import segmentation
from fsbench.results.tables.table import build_blocks


@pytest.fixture
def counted(monkeypatch):
    """The rows that were computed and not taken from the cache."""
    computed = []
    real = segmentation.compute_row
    monkeypatch.setattr(segmentation, "compute_row", lambda *args: computed.append(real(*args)) or computed[-1])
    return computed


def test_rows_are_made_once(make, counted, cache):
    runs = [make("m", 0), make("m", 1), make("n", 0, quality=2)]
    fresh = build_blocks(runs, by_class=True, trivial=True)
    assert len(counted) == 4 + 2 * 3  # two folds and their mean, another method; three trivial answers a fold
    again = [Record(record.path, record.run) for record in runs]
    assert [asdict(b) for b in build_blocks(again, by_class=True, trivial=True)] == [asdict(b) for b in fresh]
    assert len(counted) == 10 and not any("episodes" in vars(record) for record in again)
    build_blocks([*runs, make("n", 1, quality=2)], by_class=True, trivial=True)
    assert len(counted) == 12
    build_blocks(runs, metrics=("mIoU",))
    assert len(counted) == 16


def test_a_damaged_row_counts_as_absent(make, counted, cache):
    record = make("m", 0)
    fresh = build_blocks([record])
    (file,) = (cache / "rows").iterdir()
    whole = file.read_text()
    bare = '{"scores": {}, "by_size": {}, "by_class": {}}'
    one_score = '{"scores": {"mIoU": {"value": 1}}}'
    other_end = whole.replace('"low": ', '"low": "x", "was": ')
    for kept in ("{}", "null", "[1]", bare, one_score, '{"scores": ', other_end):
        counted.clear()
        file.write_text(kept)
        assert [asdict(b) for b in build_blocks([record])] == [asdict(b) for b in fresh] and len(counted) == 1, kept
        assert file.read_text() == whole


def test_an_edited_row_is_computed_again(make, counted, cache):
    record, other = make("m", 0), make("n", 0, quality=2)
    fresh = build_blocks([record])
    (file,) = (cache / "rows").iterdir()
    build_blocks([other])
    (foreign,) = set((cache / "rows").iterdir()) - {file}
    whole = file.read_text()
    value = json.loads(whole)["row"]["scores"]["mIoU"]["value"]
    for edited in (whole.replace(str(value), "99.9"), foreign.read_text()):
        assert edited != whole
        file.write_text(edited)
        assert [asdict(b) for b in build_blocks([record])] == [asdict(b) for b in fresh]
        assert file.read_text() == whole
    assert len(counted) == 4


def test_a_row_follows_from_its_protocol(make, counted, monkeypatch):
    record = make("m", 0, spill=True)
    first, second = build_blocks([record]), build_blocks([record])
    assert len(counted) == 1
    other = replace(load_protocol("fscs"), void="ignore")
    monkeypatch.setattr("fsbench.protocols.registry.load_protocol", lambda _: other)
    changed = build_blocks([record])[0].rows[0].scores["mIoU"].value
    assert (
        len(counted) == 2 and changed > first[0].rows[0].scores["mIoU"].value == second[0].rows[0].scores["mIoU"].value
    )


def test_counts_that_are_gone_are_said_in_one_line(make, tmp_path, capsys):
    record = make("m", 0)
    build_blocks([record])
    (record.path / "episodes.parquet").unlink()
    with pytest.raises(RecordError, match=r"cannot read .*episodes.parquet .*FORCE=1"):
        build_blocks([record])
    assert main(["table", str(tmp_path)]) == 2
    assert "FORCE=1" in capsys.readouterr().err


def test_counts_that_changed_are_refused_whatever_row_is_kept(make):
    record = make("m", 0)
    build_blocks([record])
    frame = record.episodes.with_columns(tp=pl.col("tp") + 1)
    frame.write_parquet(record.path / "episodes.parquet")
    with pytest.raises(RecordError, match="does not hold the counts"):
        build_blocks([Record(record.path, record.run)])


def test_a_cache_that_cannot_be_written_to_costs_only_time(make, counted, tmp_path, monkeypatch):
    record = make("m", 0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "file" / "below"))
    assert build_blocks([record])[0].rows[0].scores and build_blocks([record]) and len(counted) == 2


def test_rows_that_come_with_a_run_are_not_believed(make, counted, cache, tmp_path, monkeypatch):
    """Anybody can write a row and the digest that fits it, here those of an earlier version, which kept rows there."""
    record = make("m", 0)
    build_blocks([record])
    assert not (record.path / "rows").exists()
    (file,) = (cache / "rows").iterdir()
    (record.path / "rows").mkdir()
    shutil.copy(file, record.path / "rows" / file.name.removeprefix("fsbench-"))
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "of somebody else"))
    build_blocks(find_records(record.path))
    assert len(counted) == 2


def test_a_run_in_a_table_of_many_is_as_in_one_of_its_own(make, cache, tmp_path):
    runs = [make("m", fold, quality, seed) for fold in (0, 1) for quality in (1, 2) for seed in (0, 1)]
    (together,) = build_blocks(runs)
    for record in find_records(tmp_path):
        shutil.rmtree(cache / "rows", ignore_errors=True)
        ((alone,),) = (block.rows for block in build_blocks([record]))
        (same,) = (row for row in together.rows if row.run == record.path.name)
        assert asdict(same) | {"method": ""} == asdict(alone) | {"method": ""}
