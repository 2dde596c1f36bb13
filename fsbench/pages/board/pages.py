"""Write the pages of a leaderboard: the table, a page for each row, and one of all bundles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fsbench.base.files import write_text
from fsbench.base.terminal import escape, one_line
from fsbench.base.version import __version__
from fsbench.pages.board.collect import Collection
from fsbench.pages.board.ranking import MARKS, groups_by_card
from fsbench.pages.board.rows import Cell, Row, Test
from fsbench.pages.look.theme import page_scripts, page_styles, template_environment
from fsbench.protocols.reading import metric_named
from fsbench.results import table
from fsbench.results.rows.row import MEAN
from fsbench.results.sheets.html import body_html, score_html
from fsbench.results.sheets.latex import tex
from fsbench.results.sheets.legend import support_set_notes
from fsbench.results.table import Column, Form, Line, Table, score_cell
from fsbench.results.tables.columns import known_costs

OWN = Path(__file__).with_name("templates")

FILTERS = {
    "backbone": "Backbone", "year": "Year", "novel": "Novel pixels", "supervision": "Supervision",
    "saw": "Backbone saw test images", "choice": "Checkpoint chosen by", "pretrained": "Backbone's data",
    "classes": "Saw test classes", "trials": "Trials",
}  # fmt: skip
"""Filters of rows besides the method's name: name in the address of the page -> words."""


def write_pages(
    folder: Path,
    rows: Sequence[Row],
    tests: Sequence[Test],
    collection: Collection,
    lines: Sequence[str],
    comparisons: int,
) -> None:
    """Write the pages of a leaderboard. File names are made of hashes only, never of texts in a bundle.

    Args:
        folder: the folder of the leaderboard.
        rows: the rows of the leaderboard (methods), with their ranks.
        tests: the columns of the leaderboard (tests).
        collection: all bundles: shown, refused and repeated ones.
        lines: sentences about runs that are in two bundles, and about rows with equal counts.
        comparisons: number of tested pairs of rows for which p-values behind the ranks are corrected.
    """
    environment = template_environment(OWN)
    environment.finalize = _printable
    environment.filters |= {
        "score": lambda score, metric: score_html(score_cell(score), Column("", Form.SCORE, metric=metric)),
        "body": lambda cell: body_html(_scores_table(cell)),
    }
    words = [(test.header.dataset, test.task, test.setting) for test in tests]
    common = {
        "styles": page_styles(OWN / "board.css"), "scripts": page_scripts(), "refused": (), "version": __version__,
        "rows": rows, "tests": tests, "collection": collection, "lines": lines, "filter_values": filter_values,
        "twins": {test.id for test, own in zip(tests, words, strict=True) if words.count(own) > 1},
        "comparisons": comparisons, "mark_words": MARKS,
    }  # fmt: skip

    def write(file: str, template: str, **values: Any) -> None:
        write_text(folder / file, environment.get_template(template).render(**(common | values)))

    write("index.html", "index.html", up="", **_index(rows, tests))
    write("bundles.html", "bundles.html", up="")
    (folder / "rows").mkdir()
    for row in rows:
        write(f"rows/{row.id}.html", "row.html", up="../", row=row, record_entry=_cite(row))


def _index(rows: Sequence[Row], tests: Sequence[Test]) -> dict[str, Any]:
    """Return what the template of the main page takes."""
    ranked = [row for row in rows if any(cell.is_complete for cell in row.cells.values())]
    columns = [test for test in tests if any(test.id in row.cells and row.cells[test.id].is_complete for row in ranked)]
    ranks = "".join(cell.rank for row in ranked for cell in row.cells.values())
    choices = {name: sorted({filter_values(row)[name] for row in rows}) for name in FILTERS}
    choices["trials"].sort(key=lambda number: (not number.isdecimal(), len(number), number))
    return {
        "columns": columns,
        "groups": [
            {"conditions": list(of_group[0].card.conditions.items()), "rows": _sort_rows(of_group, columns[0])}
            for of_group in groups_by_card(ranked).values()
        ],
        "incomplete": _incomplete(rows, tests),
        "filters": FILTERS,
        "choices": choices,
        "marks": {mark: words for mark, words in MARKS.items() if mark in ranks},
        "datasets": sorted({str(test.header.dataset) for test in tests}),
        "support_sets": {test.id: _support_sets(rows, test) for test in tests},
        "scripts": page_scripts(*[OWN / "board.js"] * bool(columns)),
    }


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
        lacking = [row.cells[test.id] for test in tests if test.id in row.cells and not row.cells[test.id].is_complete]
        is_alone = len(lacking) == len(row.cells)
        found += [(row, cell, is_alone and cell is lacking[0]) for cell in lacking]
    return found


def _support_sets(rows: Sequence[Row], test: Test) -> list[str]:
    """Say in a column's notes where a class has few disjoint support sets."""
    present = [row.cells[test.id] for row in rows if test.id in row.cells]
    shown = [scores for cell in present for scores in ([cell.scores] if cell.scores else cell.scores_by_fold.values())]
    return support_set_notes(scores[test.metric] for scores in shown if test.metric in scores)


def _scores_table(cell: Cell) -> Table:
    """Return a table of the scores and costs of a row's runs on one test: a line for each fold, then their mean."""
    records = {str(fold): [run.record for run in trainings] for fold, trainings in cell.folds.items()}
    scores = {str(fold): of_fold for fold, of_fold in cell.scores_by_fold.items()}
    costs = {fold: [record.run.cost for record in own] for fold, own in records.items()}
    if cell.scores and len(records) > 1:
        scores[MEAN], costs[MEAN] = cell.scores, [cost for own in costs.values() for cost in own]
    shown = known_costs(costs.values())
    metrics = [Column(metric, Form.FIGURE, metric=metric) for metric in cell.test.metrics]
    names = [Column("runs", Form.NAME), Column("episodes (sha256)", Form.NAME)]
    lines = []
    for fold, of_fold in scores.items():
        own = records.get(fold, [])
        texts = ", ".join(record.run.id for record in own), own[0].manifest_sha256[:16] if own else ""
        figures = [score_cell(of_fold.get(metric)) for metric in cell.test.metrics]
        cells = [table.Cell(fold), *figures, *(each.cell(costs[fold]) for each in shown), *map(table.Cell, texts)]
        lines.append(Line(cells, "method" if own else "mean"))
    return Table([Column("fold"), *metrics, *(each.column for each in shown), *names], lines)


def _cite(row: Row) -> str:
    """Return a BibTeX entry for a row's runs, which are identified by the hash of their bundle."""
    titles = sorted(cell.test.title for cell in row.cells.values())
    more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
    listing = row.bundle.listing
    fields = {
        "title": f"{row.label}, {row.backbone}: records of {titles[0].replace(' · ', ', ')}{more}",
        "year": row.finished[:4],
        "howpublished": f"Bundle of {listing.made_by}, licence {listing.licence}",
        "note": f"sha256 {row.bundle.sha256}",
    }
    values = {name: tex(one_line(text, 600)) for name, text in fields.items() if text}
    lines = [f"  {name} = {{{value}}}," for name, value in values.items()]
    # BibTeX counts the braces within a value, even escaped ones
    lines = [line.replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}") for line in lines]
    return "\n".join([f"@misc{{fsbench-{row.id},", *lines, "}"])


def filter_values(row: Row) -> dict[str, str]:
    """Return {name of a filter on the leaderboard (`FILTERS`): this row's value}."""
    card = row.card.entries
    values = {
        "backbone": row.backbone, "year": row.year, "novel": card["novel_pixels"], "supervision": card["supervision"],
        "saw": card["backbone_saw_test_images"], "choice": card["checkpoint_choice"],
        "pretrained": card["backbone_data"], "classes": card["saw_test_classes"], "trials": card["trials"],
    }  # fmt: skip
    return {name: escape(value) for name, value in values.items()}


def _printable(value: Any) -> Any:
    """Return what a template prints: words of bundles without characters that cannot be printed or turn the writing."""
    return escape(value, "\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
