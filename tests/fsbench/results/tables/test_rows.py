"""Rows of tables: they follow from counts and protocol, also beside the rows of many other runs."""

from dataclasses import asdict, replace

from fsbench.protocols.reading import load_protocol
from fsbench.records.record import find_records
from fsbench.results.rows.row import ALL, CLASS, FOLD, SIZE
from fsbench.results.tables.table import build_blocks


def test_a_row_follows_from_its_protocol(make, monkeypatch):
    record = make("m", 0, spill=True)
    (block,) = build_blocks([record])
    fscs = load_protocol("fscs")
    other = replace(fscs, counting=replace(fscs.counting, void="ignore"))
    monkeypatch.setattr("fsbench.protocols.reading.load_protocol", lambda _: other)
    changed = build_blocks([record])[0]
    assert changed.lines["m", "0"]["mIoU"].value > block.lines["m", "0"]["mIoU"].value


def test_a_run_in_a_table_of_many_is_as_in_one_of_its_own(make, tmp_path):
    runs = [make("m", fold, quality, seed) for fold in (0, 1) for quality in (1, 2) for seed in (0, 1)]
    (together,) = build_blocks(runs, metrics=["mIoU"])
    for record in find_records(tmp_path):
        alone = [row for block in build_blocks([record], metrics=["mIoU"]) for row in block.rows]
        same = [row for row in together.rows if row.run == record.path.name]
        names = {"method": "", "parent": "", "part_kind": "", "part": ""}  # a fold is a part beside a mean
        assert [asdict(row) | names for row in same] == [asdict(row) | names for row in alone]


def test_a_row_holds_plain_numbers(make):
    """JSON and CSV are written of them."""
    (block,) = build_blocks(
        [make("m", fold) for fold in (0, 1)], by=("size", "class"), metrics=["mIoU", "accuracy"], trivial=True
    )
    assert {row.part_kind for row in block.rows} == {ALL, CLASS, FOLD, SIZE}
    for row in block.rows:
        estimate = row.estimate
        numbers = [estimate.value, estimate.low, estimate.high, estimate.error, estimate.df, estimate.p]
        assert all(type(number) is float for number in [*numbers, *estimate.variances])
        assert type(estimate.queries) is type(estimate.supports) is int
        assert type(row.pairs) is type(row.episodes) is int
