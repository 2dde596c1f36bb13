"""Runs that the table of resolutions leaves out are named with the reason."""

from benchmarks.protocols import finished
from benchmarks.protocols.finished import left_out_of_resolution, resolution_table, write_tables
from fsbench.records.record import find_records
from tests.fsbench.runs import changed


def of_side(record, protocol, image_size):
    """`record` as of a protocol and an image size, with predictions."""
    other = changed(record, {"image_size": image_size}, predictions={})
    other.__dict__["header"] = record.header.model_copy(update={"protocol": protocol})
    return other


def test_a_run_is_in_the_table_or_named_with_the_reason(make, monkeypatch):
    monkeypatch.setattr(finished, "Truths", lambda record: None)
    monkeypatch.setattr(finished, "recount", lambda record, truth, side: record.episodes)
    fine = of_side(make("a", 0), "incontext", 518)  # which counts at 1024 x 1024 whatever the images have
    coarse = [of_side(make(name, 0), "hsnet", 400) for name in ("b", "c")]
    own_size = of_side(make("d", 0), "fscs", 400)
    bare = make("e", 0)
    unknown = of_side(make("f", 0), "hsnet", None)
    records = [fine, *coarse, own_size, bare, unknown]
    _, rows = resolution_table(records)
    assert [row[0] for row in rows] == ["a"] and rows[0][3].endswith(" at 1024 x 1024")
    test = "blocks fold 0, 1-way 1-shot"
    own, smaller = "the query's size", "its predictions are stored at {}, expected 1024 x 1024 or more"
    unknown_size = "run.json has the image size None; expected a side from 1 to 4096"
    assert sorted(left_out_of_resolution(records)) == sorted(
        [
            f"- left out of resolution: b ({test}, hsnet); c ({test}, hsnet): {smaller.format('400 x 400')}",
            f"- left out of resolution: d ({test}, fscs): {smaller.format(own)}",
            f"- left out of resolution: e ({test}, fscs): the run kept no predictions; make it again with FORCE=1",
            f"- left out of resolution: f ({test}, hsnet): {unknown_size}",
        ]
    )
    assert left_out_of_resolution([fine]) == []


def test_the_program_prints_what_it_left_out(make, tmp_path, monkeypatch):
    monkeypatch.setattr(finished, "TABLES", {"resolution": resolution_table})
    make("a", 0, keep="masks")
    assert len(find_records(tmp_path)) == 1
    assert write_tables([tmp_path], "Made here.", None) == (
        "- left out of resolution: a (blocks fold 0, 1-way 1-shot, fscs): its predictions are stored at the query's "
        "size, expected 1024 x 1024 or more"
    )
