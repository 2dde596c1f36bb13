"""Methods under several tests in one table, whose figures are those of the table of each test."""

import csv
import io

import pytest

from fsbench.base.terminal import escape
from fsbench.cli.main import main
from fsbench.results.sheets.text import text
from fsbench.results.tables.render import render
from fsbench.results.tables.side_by_side import side_by_side
from fsbench.results.tables.table import build_blocks
from tests.fsbench.results.scored import grid_of


@pytest.fixture(scope="module")
def blocks(shared_make):
    """Two methods under two tests, of which one has a mean over folds; "bad" lacks the second test."""
    runs = [shared_make(*of, wrong=3) for of in (("good", 0, 1), ("good", 1, 1), ("bad", 0, 2), ("bad", 1, 2))]
    return build_blocks([*runs, shared_make("good", 0, 1, way=2)])


def rows_of(sheet):
    head, *rows = grid_of(*sheet.tables)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_test_is_a_column_and_figures_are_those_of_each_table(blocks):
    first, second = blocks
    sheet = side_by_side(blocks)
    rows = rows_of(sheet)
    assert [(row["method"], row["test"], row["fold"]) for row in rows] == [
        ("good", "1-way 1-shot", "mean"), ("good", "2-way 1-shot", "0"), ("bad", "1-way 1-shot", "mean"),
    ]  # fmt: skip
    by_key = first.lines
    for row, scores in ((rows[0], by_key["good", "mean"]), (rows[2], by_key["bad", "mean"])):
        main_score = scores["mIoU"]
        assert row["mIoU"].startswith(f"{main_score.value:.2f}") and row["FB-IoU"] == f"{scores['FB-IoU'].value:.2f}"
    assert rows[1]["accuracy"] == f"{next(iter(second.lines.values()))['accuracy'].value:.2f}"
    assert (
        not any(cell.place for line in sheet.tables[0].lines for cell in line.cells)
        and "no ranks and no differences" in sheet.notes[0]
    )
    assert sheet.title.endswith("2 tests side by side") and "1-way" not in sheet.title and "original" in sheet.title


def test_one_test_has_none_and_tables_of_one_test_are_numbered(blocks):
    first, second = blocks
    assert side_by_side([first]) is side_by_side([first, first]) is None
    tests = [row["test"] for row in rows_of(side_by_side([first, second, first]))]
    numbered = ["1-way 1-shot, table 1", "1-way 1-shot, table 2"]
    assert tests == [numbered[0], "2-way 1-shot", numbered[1], *numbered]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_terminal(blocks, width):
    shown = text([side_by_side(blocks)], width, wrap=True)
    assert max(map(len, shown.splitlines())) <= width
    assert ("a wider terminal has room" in shown) == (width < 80) and "mIoU" in shown


def test_every_format_names_the_test(blocks):
    runs = {row.run for block in blocks for row in block.rows if row.run}
    assert len(runs) == 5
    assert text([side_by_side(blocks)], 120, wrap=True) in render(blocks, "text", (), 120, wrap=True)
    assert "| good | 2-way 1-shot | 0 |" in render(blocks, "markdown")
    assert "2-way 1-shot & 0 &" in render(blocks, "latex")
    titles = {row["test"] for row in csv.DictReader(io.StringIO(render(blocks, "csv")))}
    assert titles == {escape(block.title) for block in blocks}


def test_the_command_prints_it_below_the_tables(shared_make, capsys):
    paths = [str(shared_make("good", 0, 1, way=way).path) for way in (1, 2)]
    assert main(["table", paths[0]]) == 0
    assert "side by side" not in capsys.readouterr().out
    assert main(["table", *paths]) == 0
    shown = capsys.readouterr().out
    assert shown.index("1-way 1-shot") < shown.index("2 tests side by side") < shown.index("next:")
