"""One sheet in every format: digits, marks, legends that follow from cells, columns and names that fit a width."""

import csv
import io
import json
from dataclasses import replace

import pytest

from fsbench.results.sheets.formats import write_sheets
from fsbench.results.sheets.html import cell_html, head_html, html
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table, score_cell
from fsbench.scores.estimate import Estimate, Scope

LONG = "prototype (support_annotation box, query_size 400, test seed {})"


def estimate(value: float, half: float = 1.5, scope: Scope = Scope.IMAGES) -> Estimate:
    return Estimate(value, value - half, value + half, scope, variances=(1.0, 1.0, 1.0), queries=50, supports=40)


COLUMNS = [
    Column("method", Form.NAME),
    Column("mIoU 5⁰", Form.SCORE, "mIoU, fold 0", "mIoU.0", "mIoU", "0", rank=3, short="5⁰"),
    Column("mIoU 5¹", Form.SCORE, "mIoU, fold 1", "mIoU.1", "mIoU", "1", rank=3, short="5¹"),
    Column("mIoU mean", Form.SCORE, "mIoU, mean over folds", "mIoU.mean", "mIoU", "mean", short="mean"),
    Column("95 % interval", Form.INTERVAL, metric="mIoU", part="mean", rank=1),
    Column("ROM", Form.SCORE, metric="ROM", rank=2),
    Column("p", Form.CORRECTED),
]
"""Columns as the short table has them, and a p."""


def sheet(*names: str, **values: object) -> Sheet:
    """Return a sheet with a line for each name."""
    lines = [
        Line(
            [
                Cell(name, mark="†"),
                score_cell(estimate(40 + n)),
                score_cell(estimate(9.5), mark="!" * (n == 1)),
                score_cell(estimate(50 + n), place="best" if n == 1 else ""),
                score_cell(estimate(50 + n)),
                Cell(),
                Cell(0.01 if n else 0.2),
            ]
        )
        for n, name in enumerate(names)
    ]
    signs = {"5⁰": "folds of 5", "5¹": "folds of 5", "!": "! is low", "?": "? is not there"}
    return replace(Sheet("a test", [Table(COLUMNS, lines)], signs=signs, comparisons=3), **values)  # type: ignore[arg-type]


def test_a_long_name_without_a_mark_stays_whole_beside_marked_ones() -> None:
    lines = [Line([Cell("emat", mark="†")]), Line([Cell("(best without a model)")])]
    shown = write_sheets("text", [Sheet("a test", [Table(COLUMNS[:1], lines)])], 80)
    assert "(best without a model)" in shown and "…" not in shown


def test_digits_stand_below_each_other_and_marks_behind_them() -> None:
    lines = write_sheets("text", [sheet("emat", "hsnet")]).splitlines()
    assert lines[2:6] == [
        "method  mIoU 5⁰     5¹   mean   95 % interval  ROM       p",
        "------  -------  -----  -----  --------------  ---  ------",
        "emat†     40.00  9.50   50.00  [48.50, 51.50]    –  0.200",
        "hsnet†    41.00  9.50!  51.00  [49.50, 52.50]    –  0.010*",
    ]


def test_the_legend_follows_from_the_cells() -> None:
    (legend,) = [line for line in write_sheets("text", [sheet("emat", "hsnet")]).splitlines() if line.startswith("* ")]
    assert legend.startswith("* folds of 5. ! is low. ROM: ")
    assert "95 % interval" in legend and "Scores in percent (ROM: from 0 to 1)" in legend
    assert legend.endswith("*: p < 0.05 after Holm's correction (3 comparisons)")
    assert "not there" not in legend
    bare = replace(sheet("emat"), tables=[Table(COLUMNS[:1], [Line([Cell("emat")])])])
    assert "* " not in write_sheets("text", [bare])


def test_why_an_interval_is_lacking_follows_from_the_cells() -> None:
    few = Estimate(50.0, variances=(1.0, 1.0, 0.0), queries=4)
    column = Column("mIoU", Form.FIGURE, metric="mIoU")
    given = [score_cell(estimate(40, scope=Scope.THESE_SUPPORTS)), score_cell(few)]
    written = write_sheets("text", [Sheet("a test", [Table([column], [Line([cell]) for cell in given])])])
    assert "40.00 [38.50, 41.50]°" in written and "50.00 (4 images)" in written
    assert "°: holds for the few supports of this test only" in written
    assert "(n images): too few images for an interval" in written


def test_columns_go_by_their_ranks_and_their_heads_follow() -> None:
    fitting = [write_sheets("text", [sheet("emat", "hsnet")], width).splitlines() for width in (60, 50, 40, 30)]
    heads = [" ".join(lines[2].split()) for lines in fitting]
    assert heads == [
        "method mIoU 5⁰ 5¹ mean 95 % interval ROM p",
        "method mIoU 5⁰ 5¹ mean ROM p",
        "method mIoU 5⁰ 5¹ mean p",
        "method mIoU mean ROM p",
    ]
    assert any(line == "* not shown: mIoU 5⁰, 5¹, 95 % interval; a wider terminal has room" for line in fitting[3])
    assert not any("folds of 5" in line for line in fitting[3]), "a head is explained that nobody sees"


def test_marks_of_other_lines_and_labels_of_the_suite_leave_names_whole() -> None:
    lines = [
        Line([Cell("prototype of one's own, seed 1", mark="†"), Cell(50.0)]),
        Line([Cell("prototype", mark="†"), Cell(50.0)]),
        Line([Cell("(best without a model)"), Cell(9.5)], "best answer"),
    ]
    tables = [Table([Column("method", Form.NAME), Column("mIoU", Form.FIGURE)], lines)]
    shown = {width: write_sheets("text", [Sheet("a test", tables)], width).split("\n")[4:7] for width in (40, 30, 24)}
    assert [line.rsplit(maxsplit=1)[0] for line in shown[40]] == [
        str(line.cells[0].value) + line.cells[0].mark for line in lines
    ]
    assert [line[:22] for line in shown[30]] == [
        "prototype …own, seed 1",
        "prototype†            ",
        "(best without a model)",
    ]
    assert [line[:17].strip() for line in shown[24]] == ["prototy…, seed 1†", "prototype†", "(best w…a model)"]


def test_names_are_whole_where_there_is_room_and_whole_below_where_only_a_number_tells_them_apart() -> None:
    alike = [LONG.format(n) + " of the second list of supports" for n in (1, 2)]
    wide, narrow = (write_sheets("text", [sheet(*alike)], width) for width in (160, 60))
    assert all(name in wide for name in alike) and "1: " not in wide
    assert [f"* {n}: {name}" in narrow for n, name in enumerate(alike, 1)] == [True, True]
    table = narrow[: narrow.index("* ")].splitlines()
    assert max(map(len, table)) <= 60
    apart = write_sheets("text", [sheet(*map(LONG.format, (1, 2)))], 60)
    assert "seed 1†" in apart and "seed 2†" in apart and "* 1: " not in apart


def test_two_columns_of_names_share_the_room() -> None:
    columns = [Column("method", Form.NAME), Column("test", Form.NAME), Column("mIoU", Form.SCORE, metric="mIoU")]
    line = Line([Cell("emat"), Cell("a test with a name of several words, which is long"), score_cell(estimate(40))])
    written = write_sheets("text", [Sheet("tests", [Table(columns, [line])])], 50).splitlines()
    assert max(map(len, written[:5])) == 50 and written[4].startswith("emat ") and "…" in written[4]


def test_markdown_and_latex_have_all_columns_and_the_best_figure_bold() -> None:
    markdown, latex = (write_sheets(form, [sheet("emat", "hsnet")], 20) for form in ("markdown", "latex"))
    assert "| method | mIoU 5⁰ | 5¹ | mean | 95 % interval | ROM | p |" in markdown
    assert "| hsnet† | 41.00 | 9.50! | **51.00** | [49.50, 52.50] | – | 0.010* |" in markdown
    assert r"\caption{a test}" in latex and latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 1
    assert r"hsnet$^\dagger$ & 41.00 & 9.50! & \textbf{51.00} & [49.50, 52.50] & -- & 0.010$^*$ \\" in latex


def test_csv_and_json_have_numbers_with_the_ends_of_their_intervals() -> None:
    (line, _) = csv.DictReader(io.StringIO(write_sheets("csv", [sheet("emat", "hsnet")])))
    assert (line["method"], line["mIoU.mean"], line["mIoU.mean low"]) == ("emat", "50", "48.5")
    assert line["ROM"] == "" and "95 % interval" not in line
    (told,) = json.loads(write_sheets("json", [sheet("emat", "hsnet")]))
    assert told["tables"][0]["lines"][1]["mIoU.0 high"] == 42.5 and told["title"] == "a test"


def test_html_escapes_names_and_tells_scripts_the_numbers() -> None:
    assert '<th scope="row" class="word">&lt;b&gt;†</th>' in html([sheet("<b>")])
    shown = cell_html(score_cell(estimate(40), place="best"), COLUMNS[3], has_letters=True)
    assert 'data-column="mIoU.mean"' in shown and 'data-value="40"' in shown and 'data-low="38.5"' in shown
    assert '<strong class="number">40.00</strong>' in shown and '<span class="ends">[38.50, 41.50]</span>' in shown
    assert 'data-first="ascending"' in head_html(COLUMNS[5]) and 'data-first="descending"' in head_html(COLUMNS[3])
    assert 'title="&lt;i&gt;"' in cell_html(Cell(1, note="<i>"), Column("pairs", Form.COUNT))


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "json"])
def test_columns_for_readers_who_choose_are_in_data_alone(form: str) -> None:
    table = sheet("emat").tables[0]
    hidden = replace(
        table, columns=[replace(table.columns[0], usual=True), *(replace(c, usual=False) for c in COLUMNS[1:])]
    )
    written = write_sheets(form, [Sheet("a test", [hidden])])
    assert ("mIoU" in written) == (form in ("csv", "json"))
