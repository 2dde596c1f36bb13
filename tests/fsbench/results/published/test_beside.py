"""Published figures on the test of a run: `fsbench compare --published`."""

import json
from dataclasses import replace

import pytest

from fsbench.cli.main import main
from fsbench.protocols.programs import Program
from fsbench.results.atlas.atlas import read_atlas
from fsbench.results.published.beside import beside_sheet, published_beside
from tests.fsbench.official_runs import DCAMA


def test_rows_on_the_same_test_stand_beside_a_run_and_others_are_counted(official):
    atlas = read_atlas()
    run = official(DCAMA, "swin_base", task="hsnet-1way1shot-original")
    found = published_beside("dcama", run, atlas)
    values = {row[:5] for row in found.shared}
    assert ("DCAMA", "ResNet-50", "1", "mIoU", "64.6") in values
    assert {row[0] for row in found.shared} == {"DCAMA", "HSNet"}  # HSNet as DCAMA's authors ran it, at 384
    assert all(row[2] == "1" for row in found.shared)
    rows = [entry for entry in atlas.entries if entry.dataset == "PASCAL-5i"]
    alike = [entry for entry in rows if (entry.method, entry.conditions["network_size"]) in (
        ("DCAMA", "384"), ("HSNet", "384"), ("PMNet / DAM", "384"))]  # fmt: skip
    assert found.others == len(rows) - len(alike)
    assert found.reasons["void"] == sum(e.conditions["void"] == "background" for e in rows)
    sheet = beside_sheet([found, found])
    assert [table.caption for table in sheet.tables] == ["dcama, dcama"]
    assert sheet.notes[0].startswith(
        f"dcama, dcama: {found.others} rows of PASCAL-5i are not shown: they differ in S, side of the network"
    )
    assert sheet.notes[1:] == ["HSNet, Swin-B: printed by others than its authors"]
    partly = [
        replace(entry, program=Program(**entry.program.model_dump() | {"certainty": "partly read", "goldens": ""}))
        for entry in atlas.entries
        if entry.program
    ]
    marked = published_beside("dcama", run, replace(atlas, entries=partly)).marks
    assert {"DCAMA, ResNet-50: partly read", "HSNet, Swin-B: printed by others than its authors"} < set(marked)


@pytest.mark.slow(1)
def test_the_comparison_of_two_runs_names_them(official, capsys):
    runs = [
        official(DCAMA, "swin_base", task="hsnet-1way1shot-original"),
        official(DCAMA, "resnet50", task="hsnet-1way1shot-original"),
    ]
    asked = ["compare", *(str(run.path) for run in runs), "--published"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "Published figures on the same test" in said and "64.6" in said
    assert main([*asked, "--format", "json"]) == 0
    _, *beside = json.loads(capsys.readouterr().out)
    assert [each["conditions"]["network_size"] for each in beside] == ["384", "384"]
