"""Lay out measured beside reported: a line for each figure, and the reasons of verdicts as numbered notes."""

from collections.abc import Iterable, Sequence

from fsbench.results.tables.layout import Grid, figure
from fsbench.runner.papers.results import RowResult

RESULT_NOTES = (
    "above, below: measured is, by more than t · √2 · its error and half a unit of the last digit that is reported, "
    "as if other images had made the reported figure; else it is not told apart; these supports only: the interval "
    "holds for the supports of the test, and nothing follows for others; no interval: the images bear none",
    "the training error of either figure is not known, nor what repeated seeds did: another training gives another "
    "figure",
)


class NumberedNotes:
    """Notes under a table, each once, which cells refer to by their numbers."""

    def __init__(self) -> None:
        self.notes: dict[str, int] = {}

    def refer(self, texts: Iterable[str]) -> str:
        """Return the references to `texts`, as "[1] [2]"."""
        return " ".join(f"[{self.notes.setdefault(text, len(self.notes) + 1)}]" for text in texts)

    def lines(self) -> list[str]:
        """Return the notes with their numbers."""
        return [f"[{number}] {text}" for text, number in self.notes.items()]


def results_grid(results: Sequence[RowResult], notes: NumberedNotes) -> Grid:
    """Lay out a line for each score of ours and reported figure.

    Why two cannot be compared, or what is not known of them, goes to `notes`.
    """
    grid: Grid = [["method", "task", "fold", "metric", "measured", "reported", "verdict"]]
    for result in results:
        item = result.comparison
        reported = f"{item.reported.value:.{item.reported.digits}f}"
        verdict = f"{result.verdict} {notes.refer([result.why] if result.why else item.caveats)}".rstrip()
        grid.append(
            [result.row.method, result.row.task, item.fold, item.metric, figure(item.measured, item.metric), reported,
             verdict]
        )  # fmt: skip
    return grid
