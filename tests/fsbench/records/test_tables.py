"""One schema of each parquet: what is written has it, and what has another is refused in one line that says why."""

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.base.files.opening import LIMITS, in_units
from fsbench.records.predictions import FILE
from fsbench.records.record import Record
from fsbench.records.tables import PREDICTIONS, count_schema, read_parquet

COUNTS = "episodes.parquet"


def row(name, value, place=1):
    """Return a change of one cell of the column `name`."""
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == place).then(pl.lit(value)).otherwise(name).cast(frame[name].dtype).alias(name)
    )


def test_what_a_run_writes_has_the_schema_of_its_test(make, classified):
    several = make("m", 0, draws=2, keep="soft", attends="of a test")
    for record in (several, make("m", 0, way=2), classified("c", 1)):
        schema = count_schema(record.header)
        written = pl.read_parquet(record.path / COUNTS)
        assert dict(written.schema) == schema.types() and written.equals(read_parquet(record.path / COUNTS, schema))
    assert ("draw" in count_schema(several.header).columns, "draw" in written.columns) == (True, False)
    kept = pl.read_parquet(several.path / FILE)
    assert dict(kept.schema) == PREDICTIONS.types(*PREDICTIONS.columns)
    assert read_parquet(several.path / FILE, PREDICTIONS).equals(kept)


OF_SEGMENTATION = [
    (lambda frame: frame.drop("void"), "it has no column void"),
    (lambda frame: frame.with_columns(pl.lit("x").alias("a\nb")), "it has an unknown column 'a\\nb'"),
    (lambda frame: frame.with_columns(tp=pl.concat_list("tp")), "the column tp holds List(Int64)"),
    (lambda frame: frame.cast({"score": pl.Float64}), "the column score holds Float64, expected Float32"),
    (row("query", None), "the column query has gaps"),
    (row("gt", -1), "the column gt holds -1, expected 0 to"),
    (row("pred", 2**40 + 1), f"the column pred holds {2**40 + 1}, expected 0 to {2**40}"),
    (row("slot", 0), "episode 0, slot 0 follows episode 0, slot 0"),
    (lambda frame: frame.reverse(), "episode 23, slot 0 follows episode 23, slot 1"),
]  # fmt: skip
"""Change of a table of counts -> why it is refused."""


def test_counts_of_another_schema_are_refused_in_one_line(make, classified):
    segmented, ways_alone = make("m", 0), classified("c", 1)
    cases = [(segmented, *case) for case in OF_SEGMENTATION]
    cases.append((ways_alone, row("slot", 0, 0), "the column slot holds 0, expected 1 to 2"))
    tables = {record.path: pl.read_parquet(record.path / COUNTS) for record in (segmented, ways_alone)}
    for record, change, problem in cases:
        change(tables[record.path]).write_parquet(record.path / COUNTS)
        with pytest.raises(RecordError) as refusal:
            _ = Record(record.path, record.run).every_episode
        message = str(refusal.value)
        assert message.startswith(f"{record.path / COUNTS} cannot be used ({problem}")
        assert refusal.value.folder == record.path and "\n" not in message


def test_a_file_that_cannot_be_read_is_said_in_one_line(make, monkeypatch):
    record = make("m", 0)
    file, schema = record.path / COUNTS, count_schema(record.header)
    size = file.stat().st_size  # polars 1.30 writes some bytes more
    monkeypatch.setitem(LIMITS, "counts", size)
    allowed = f"expected at most {in_units(size)}"
    with pytest.raises(RecordError, match=rf"cannot be used \(it has 48 rows and 15 columns; {allowed}"):
        read_parquet(file, schema)
    for happen, problem in (
        (lambda: file.write_bytes(b"PAR1 no more"), "ComputeError"),
        (lambda: file.write_bytes(b"x" * 6000), f"it has 5.86 KiB; {allowed}"),
        (file.unlink, "it is missing"),
        (file.mkdir, "it is a folder"),
    ):
        happen()
        with pytest.raises(RecordError, match=rf"cannot be used \({problem}"):
            read_parquet(file, schema)
