"""Measured beside reported, row by row of a paper's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.published.match import PublishedComparison, match_published
from fsbench.results.tables.published.scores import PublishedScore
from fsbench.results.tables.table import build_blocks
from fsbench.runner.papers.figures import row_scores
from fsbench.runner.papers.files import Paper, PaperRow, paper_rows
from fsbench.scores.scores import DEFAULT

NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class RowResult:
    """A score of ours and the figure of a paper's row.

    Attributes:
        row: the row.
        comparison: both figures, and how they were compared.
    """

    row: PaperRow
    comparison: PublishedComparison

    @property
    def verdict(self) -> str:
        """One of `fsbench.results.tables.published.match.VERDICTS`, or not comparable."""
        return NOT_COMPARABLE if self.comparison.difference is None else self.comparison.verdict

    @property
    def why(self) -> str:
        """Why the two cannot be compared; "" where they can."""
        return self.comparison.verdict.removeprefix("not comparable: ") if self.comparison.difference is None else ""


def row_results(records: Mapping[PaperRow, Sequence[Record]], published: Sequence[PublishedScore]) -> list[RowResult]:
    """Compare the records of each row with its figures; a mean stands only where every fold is there."""
    results: list[RowResult] = []
    for row, members in records.items():
        figures = row_scores(row, published)
        metrics = tuple(dict.fromkeys([*DEFAULT, *(figure.metric for figure in figures)]))
        for group in comparable(members):
            (block,) = build_blocks(group, by_size=False, metrics=metrics)
            results += _in_block(row, figures, block, variants(group))
    return results


def results_in_block(
    papers: Mapping[str, Paper], block: Block, runs: Mapping[str, Sequence[Record]], published: Sequence[PublishedScore]
) -> list[RowResult]:
    """Compare whatever of a table of ours a row of a paper stands for, in the order of papers and rows.

    Args:
        papers: by their names.
        block: the table.
        runs: label of a method in it -> its runs.
        published: all reported scores.
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
    for line in block.rows:
        own = runs.get(line.method, [])
        records = own if line.fold in ("mean", "all") else [r for r in own if str(fold_of(r)) == line.fold]
        if records:
            items = match_published(line.method, line.fold, line.scores, records, figures)
            found += [RowResult(row, item) for item in items]
    return found
