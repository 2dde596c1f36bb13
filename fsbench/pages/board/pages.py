"""Write the pages of a leaderboard: the table, a page for each row, and one of all bundles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fsbench.base.files import write_text
from fsbench.base.terminal import escape
from fsbench.base.version import __version__
from fsbench.pages.board.cite import cite_record
from fsbench.pages.board.collect import Collection
from fsbench.pages.board.ranking import groups_by_card
from fsbench.pages.board.rows import Cell, Row, Test
from fsbench.pages.board.scores import scores_table
from fsbench.pages.look.theme import page_scripts, page_styles, template_environment
from fsbench.protocols.reading import metric_named
from fsbench.results.sheets.html import body_html, score_html
from fsbench.results.sheets.legend import support_set_notes
from fsbench.results.table import Column, Form, score_cell

OWN = Path(__file__).with_name("templates")

FILTERS = {
    "backbone": "Backbone", "year": "Year", "novel": "Novel pixels", "supervision": "Supervision",
    "saw": "Backbone saw test images", "choice": "Checkpoint chosen by", "pretrained": "Backbone's data",
    "classes": "Saw test classes", "trials": "Trials",
}  # fmt: skip
"""Filters of rows besides the method's name: name in the address of the page -> words."""

MARKS = {
    "~": "some rows saw other episodes and are compared by the errors of both scores",
    "†": "the ranked rows differ in the number of trials or in the backbone's data, which ranks do not account for",
    "‡": "ranked among the rows of all groups (--rank-all)",
    "°": "for these supports only",
    "¹": "for these trainings only: a method was trained once",
}
"""Mark of a rank (`Rank.words`) -> its meaning."""


class Pages:
    """Writes the pages of a leaderboard. File names are made of hashes only, never of texts in a bundle.

    Args:
        folder: the folder of the leaderboard.
        rows: the rows of the leaderboard (methods), with their ranks.
        tests: the columns of the leaderboard (tests).
        collection: all bundles: verified, refused and repeated ones.
        lines: sentences about runs that are in two bundles, and about rows with equal counts.
        comparisons: number of tested pairs of rows for which p-values behind the ranks are corrected.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[Row],
        tests: Sequence[Test],
        collection: Collection,
        lines: Sequence[str],
        comparisons: int,
    ):
        self.folder, self.rows, self.tests = folder, rows, tests
        self.environment = template_environment(OWN)
        self.environment.finalize = _printable
        self.environment.filters |= {
            "score": lambda score, metric: score_html(score_cell(score), Column("", Form.SCORE, metric=metric)),
            "body": lambda cell: body_html(scores_table(cell)),
            "printed": lambda text: escape(str(text), "\n\t"),
        }
        self.common = {
            "styles": page_styles(OWN / "board.css"), "scripts": page_scripts(), "refused": (), "version": __version__,
            "rows": rows, "tests": tests, "collection": collection, "lines": lines,
            "filter_values": filter_values, "twins": _twins(tests), "comparisons": comparisons,
            "mark_words": MARKS,
            "support_sets": {test.id: _support_sets(rows, test) for test in tests},
        }  # fmt: skip

    def index(self) -> None:
        """Write the leaderboard's main page with the table."""
        ranked = [row for row in self.rows if any(cell.is_complete for cell in row.cells.values())]
        columns = [test for test in self.tests if any(_is_complete(row, test) for row in ranked)]
        groups = [
            {"conditions": list(rows[0].card.conditions.items()), "rows": _sort_rows(rows, columns[0])}
            for rows in groups_by_card(ranked).values()
        ]
        ranks = [cell.rank.words for row in ranked for cell in row.cells.values() if cell.rank]
        choices = {name: sorted({filter_values(row)[name] for row in self.rows}) for name in FILTERS}
        choices["trials"].sort(key=lambda number: (not number.isdecimal(), len(number), number))
        self._write(
            "index.html", "index.html", up="", groups=groups, filters=FILTERS, choices=choices, columns=columns,
            incomplete=_incomplete(self.rows, self.tests),
            marks={mark: words for mark, words in MARKS.items() if any(mark in rank for rank in ranks)},
            datasets=sorted({str(test.header.dataset) for test in self.tests}),
            scripts=page_scripts(*[OWN / "board.js"] * bool(columns)),
        )  # fmt: skip

    def row_pages(self) -> None:
        """Write a page for each row (method) of the leaderboard."""
        (self.folder / "rows").mkdir()
        for row in self.rows:
            self._write(f"rows/{row.id}.html", "row.html", up="../", row=row, record_entry=cite_record(row))

    def bundles(self) -> None:
        """Write the page of all bundles: shown, refused, or repeated."""
        self._write("bundles.html", "bundles.html", up="")

    def _write(self, file: str, template: str, **values: Any) -> None:
        write_text(self.folder / file, self.environment.get_template(template).render(**(self.common | values)))


def _is_complete(row: Row, test: Test) -> bool:
    """Return whether a row has all folds of a test."""
    return test.id in row.cells and row.cells[test.id].is_complete


def _sort_rows(rows: Sequence[Row], test: Test) -> list[Row]:
    """Order rows by their mean on a test, those without one last."""

    def place(row: Row) -> tuple[Any, ...]:
        score = row.cells[test.id].scores.get(test.metric) if test.id in row.cells else None
        value = 0.0 if score is None else -metric_named(test.metric).sign * score.value
        return score is None, value, *row.age, row.label, row.id

    return sorted(rows, key=place)


def _incomplete(rows: Sequence[Row], tests: Sequence[Test]) -> list[tuple[Row, Cell, bool]]:
    """List the cells that lack folds, each with its row and whether the page has no other line of the row before."""
    found: list[tuple[Row, Cell, bool]] = []
    for row in sorted(rows, key=lambda row: (row.label, row.id)):
        is_first = not any(cell.is_complete for cell in row.cells.values())
        for cell in (row.cells[test.id] for test in tests if test.id in row.cells):
            if not cell.is_complete:
                found.append((row, cell, is_first))
                is_first = False
    return found


def _support_sets(rows: Sequence[Row], test: Test) -> list[str]:
    """Say in a column's notes where a class has few disjoint support sets."""
    present = [row.cells[test.id] for row in rows if test.id in row.cells]
    shown = [scores for cell in present for scores in ([cell.scores] if cell.scores else cell.scores_by_fold.values())]
    return support_set_notes(scores[test.metric] for scores in shown if test.metric in scores)


def _twins(tests: Sequence[Test]) -> set[str]:
    """Return the ids of tests that differ from another one in their image lists or classes alone."""
    words = [(test.header.dataset, test.task, test.setting) for test in tests]
    return {test.id for test, own in zip(tests, words, strict=True) if words.count(own) > 1}


def filter_values(row: Row) -> dict[str, str]:
    """Return {name of a filter on the leaderboard (`FILTERS`): this row's value}."""
    card = row.card.entries
    values = {
        "backbone": row.backbone, "year": row.year, "novel": card["novel_pixels"],
        "supervision": card["supervision"], "saw": card["backbone_saw_test_images"],
        "choice": card["checkpoint_choice"], "pretrained": card["backbone_data"], "trials": card["trials"],
        "classes": card["saw_test_classes"],
    }  # fmt: skip
    return {name: escape(value) for name, value in values.items()}


def _printable(value: Any) -> Any:
    """Return what a template prints: words of bundles without characters that cannot be printed or turn the writing."""
    return escape(value, "\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
