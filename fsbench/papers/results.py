"""Measured beside reported, row by row of a paper's tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fsbench.papers.figures import figures_of
from fsbench.papers.files import Paper, PaperRow, rows_of
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.tables.published import PublishedComparison, match_published
from fsbench.tables.published_scores import PublishedScore
from fsbench.tables.table import build_blocks

INSIDE, OUTSIDE, NOT_COMPARABLE = "inside", "outside", "not comparable"


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
        """inside: the reported figure lies in the interval of the measured one; outside; or not comparable."""
        if self.comparison.difference is None:
            return NOT_COMPARABLE
        return INSIDE if self.comparison.verdict == "within the interval" else OUTSIDE

    @property
    def why(self) -> str:
        """Why the two cannot be compared; "" where they can."""
        return self.comparison.verdict.removeprefix("not comparable: ") if self.comparison.difference is None else ""


def row_results(records: Mapping[PaperRow, Sequence[Record]], published: Sequence[PublishedScore]) -> list[RowResult]:
    """Compare the records of each row with its figures; a mean stands only where every fold is there."""
    results: list[RowResult] = []
    for row, members in records.items():
        figures = figures_of(row, published)
        metrics = tuple(dict.fromkeys(figure.metric for figure in figures))
        for group in comparable(members):
            results += _of_group(row, group, figures, metrics)
    return results


def _of_group(
    row: PaperRow, group: list[Record], figures: Sequence[PublishedScore], metrics: Sequence[str]
) -> list[RowResult]:
    """Compare the records of one list of episodes a fold."""
    by_label = variants(group)
    (block,) = build_blocks(group, metrics=metrics)
    found = []
    for line in block.rows:
        own = by_label.get(line.method, [])
        records = own if line.fold in ("mean", "all") else [r for r in own if str(fold_of(r)) == line.fold]
        if records:
            items = match_published(line.method, line.fold, line.scores, records, figures)
            found += [RowResult(row, item) for item in items]
    return found


def find_results(
    papers: Mapping[str, Paper], records: Iterable[Record], published: Sequence[PublishedScore]
) -> list[RowResult]:
    """Compare whatever of `records` a row of a paper stands for, in the order of papers and rows."""
    by_task: dict[tuple[str, int, int, str], list[Record]] = {}
    for record in records:
        header = record.header
        task = (header["dataset"], header["way"], header["shot"], header.get("setting") or "original")
        by_task.setdefault(task, []).append(record)
    rows = [row for name, paper in papers.items() for row in rows_of(name, paper)]
    chosen = {row: by_task.get((row.dataset, row.way, row.shot, row.setting), []) for row in rows}
    return row_results({row: members for row, members in chosen.items() if members}, published)
