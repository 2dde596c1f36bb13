"""Measured beside reported, row by row of a paper's tables."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.results.published.match import PublishedComparison, match_published
from fsbench.results.published.scores import FOLDER, PublishedScore, read_published
from fsbench.results.rows.row import ALL, MEAN
from fsbench.results.table import Cell, Column, Form, Line, Table
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.table import build_blocks
from fsbench.runner.config.merge import shipped_settings
from fsbench.runner.papers.files import Paper, PaperRow, paper_rows
from fsbench.scores.scores import DEFAULT

NOT_COMPARABLE = "not comparable"


RESULT_NOTES = (
    "above, below: the difference is more than other images explain, which is t · √2 · the error of the measured score "
    "and half a unit of the last reported digit (as if the reported score came from other images). Otherwise the two "
    "scores are not told apart. These supports only: the interval says nothing about other supports. No interval: too "
    "few images for an interval",
    "Not known: how far another training moves the measured or the reported score, and whether the paper repeated "
    "seeds",
)


@dataclass(frozen=True)
class RowResult:
    """A measured score compared with the published score of a paper's row.

    Attributes:
        row: the row of the paper.
        comparison: measured and published score, their difference, and the verdict.
    """

    row: PaperRow
    comparison: PublishedComparison

    @property
    def verdict(self) -> str:
        """How the scores compare: "above", "below", "not told apart", another of `VERDICTS`, or "not comparable"."""
        return NOT_COMPARABLE if self.comparison.difference is None else self.comparison.verdict

    @property
    def why(self) -> str:
        """Why the two scores cannot be compared; "" if they can."""
        return self.comparison.verdict.removeprefix("not comparable: ") if self.comparison.difference is None else ""


def row_results(records: Mapping[PaperRow, Sequence[Record]], published: Sequence[PublishedScore]) -> list[RowResult]:
    """Compare the runs of each row of a paper with its published scores; a mean over folds needs runs of every fold."""
    results: list[RowResult] = []
    for row, members in records.items():
        figures = row_scores(row, published)
        metrics = tuple(dict.fromkeys([*DEFAULT, *(figure.metric for figure in figures)]))
        for group in comparable(members):
            (block,) = build_blocks(group, by=(), metrics=metrics)
            results += _in_block(row, figures, block, variants(group))
    return results


def results_in_block(
    papers: Mapping[str, Paper], block: Block, runs: Mapping[str, Sequence[Record]], published: Sequence[PublishedScore]
) -> list[RowResult]:
    """Compare the scores of a table of runs with the published scores of those paper rows that have the same test.

    Args:
        papers: {name: paper}.
        block: the scores of runs on one test.
        runs: {label of a method in `block`: its runs}.
        published: published scores of all methods and tests.
    """
    header = next(record.header for members in runs.values() for record in members)
    task = (header.dataset, header.way, header.shot, header.setting or "original")
    rows = [row for name, paper in papers.items() for row in paper_rows(name, paper)]
    alike = [row for row in rows if (row.dataset, row.way, row.shot, row.setting) == task]
    return [result for row in alike for result in _in_block(row, row_scores(row, published), block, runs)]


def _in_block(
    row: PaperRow, figures: Sequence[PublishedScore], block: Block, runs: Mapping[str, Sequence[Record]]
) -> list[RowResult]:
    found = []
    for (method, fold), scores in block.lines.items():
        own = runs.get(method, [])
        records = own if fold in (MEAN, ALL) else [record for record in own if str(fold_of(record)) == fold]
        if records:
            items = match_published(method, fold, scores, records, figures)
            found += [RowResult(row, item) for item in items]
    return found


def published_scores(folder: Path = FOLDER) -> list[PublishedScore]:
    """Read the published scores of methods that fsbench has, with the training settings of its configuration files.

    Raises DataError if the mapping of names in `folder` lacks a name.
    """
    return read_published(shipped_settings, folder)


def row_scores(row: PaperRow, published: Iterable[PublishedScore]) -> list[PublishedScore]:
    """Return the published scores of a paper's row, for every fold and metric, from all published scores."""
    name = row.entry.reported
    if name is None:
        return []
    source = re.compile(re.escape(name.source or row.source) + r"(?!\w)")
    task = (row.dataset, row.way, row.shot, row.setting)
    return [
        score
        for score in published
        if (score.method, score.backbone) == (name.method, name.backbone)
        and (score.dataset, score.way, score.shot, score.setting) == task
        and name.stated in (None, score.stated)
        and source.match(score.source)
    ]


def refer(notes: list[str], texts: Iterable[str]) -> str:
    """Add texts to numbered notes, each once; return references such as "[1] [2]"."""
    numbers = []
    for text in texts:
        if text not in notes:
            notes.append(text)
        numbers.append(f"[{notes.index(text) + 1}]")
    return " ".join(numbers)


def numbered(notes: Sequence[str]) -> list[str]:
    """Return notes preceded by the numbers that `refer` gave them, such as "[1] …"."""
    return [f"[{number}] {text}" for number, text in enumerate(notes, 1)]


def results_table(results: Sequence[RowResult], notes: list[str], caption: str) -> Table:
    """Return a table with a line for each pair of a measured and a published score.

    Reasons why two scores cannot be compared, and what is unknown about them, are appended to `notes`; the table refers
    to them by number.
    """
    columns = [
        Column("method", Form.NAME),
        *map(Column, ("task", "fold", "metric")),
        Column("measured", Form.FIGURE),
        Column("reported", Form.FIGURES),
        Column("verdict"),
    ]
    lines = []
    for result in results:
        item = result.comparison
        reported = f"{item.reported.value:.{item.reported.digits}f}"
        verdict = f"{result.verdict} {refer(notes, [result.why] if result.why else item.caveats)}".rstrip()
        words = map(Cell, (result.row.method, result.row.task, item.fold, item.metric))
        measured = Cell(item.measured.value, item.measured, metric=item.metric)
        lines.append(Line([*words, measured, Cell(reported), Cell(verdict)]))
    return Table(columns, lines, caption)
