"""What parts a paper's figures and those of our runs, row by row, as far as counts tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.results.tables.published.match import NOT_TOLD_APART
from fsbench.results.tables.published.scores import PublishedScore
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.evidence import gather
from fsbench.results.why.explain import Explanation, explain
from fsbench.results.why.layout import answer
from fsbench.runner.papers.files import PaperRow
from fsbench.runner.papers.results import RowResult

METRIC = "mIoU"
"""The score whose figures are explained."""


@dataclass(frozen=True)
class RowAnswer:
    """Differences between a paper's row and its runs that can part their figures.

    Attributes:
        row: the row.
        fold: of the figure; "mean" of all.
        explanation: the causes by rank; no other size of comparison is counted.
    """

    row: PaperRow
    fold: str
    explanation: Explanation

    @property
    def sentence(self) -> str:
        """The answer in a sentence."""
        return answer(self.explanation)


def explain_rows(results: Sequence[RowResult]) -> list[RowAnswer]:
    """Explain each row whose figures do not agree: by its mean where that is there, else fold by fold.

    Args:
        results: measured beside reported, of any rows.
    """
    rows: dict[PaperRow, dict[str, RowResult]] = {}
    for result in results:
        if result.comparison.metric == METRIC:
            rows.setdefault(result.row, {}).setdefault(result.comparison.fold, result)
    found = []
    for row, by_fold in rows.items():
        whole = by_fold.get("mean") or by_fold.get("all")
        chosen = [whole] if whole is not None else list(by_fold.values())
        for result in chosen:
            if result.verdict != NOT_TOLD_APART and result.records:
                claim = _claim(result, by_fold)
                explanation = explain_counts(result.records, claim)
                if not explanation.agrees:
                    found.append(RowAnswer(row, result.comparison.fold, explanation))
    return found


def explain_counts(records: Sequence[Record], claim: Claim) -> Explanation:
    """Explain a claim by the counts of runs alone, whose predictions are not looked at."""
    evidence = gather(records, None)
    return explain(evidence.run, claim, unanswered=evidence.unanswered)


def _claim(result: RowResult, by_fold: Mapping[str, RowResult]) -> Claim:
    """Return the reported figures of a result, with those of its folds."""
    folds = {fold_of(record) for record in result.records}
    of_folds = {
        int(fold): _figure(other.comparison.reported)
        for fold, other in by_fold.items()
        if fold.isdecimal() and int(fold) in folds
    }
    is_whole = not result.comparison.fold.isdecimal()
    return Claim(_figure(result.comparison.reported) if is_whole else None, of_folds)


def _figure(score: PublishedScore) -> Figure:
    return Figure(score.value, 0.5 * 10.0**-score.digits)
