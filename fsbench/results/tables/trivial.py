"""Answers that need no model beside the methods: the best of them, and the scores that do not show a method above."""

from collections.abc import Iterable, Sequence
from math import isnan
from typing import TYPE_CHECKING

from fsbench.protocols.reading import metric_named
from fsbench.scores.estimate import Estimate
from fsbench.scores.trivial import TRIVIAL

if TYPE_CHECKING:
    from fsbench.results.tables.blocks import Row

NOT_ABOVE = "!"
"""Mark of a score that is not shown to be above the best answer without a model."""


def best_without_model(rows: "Iterable[Row]", fold: str, metric: str, size: str = "") -> tuple[str, float] | None:
    """Return the label and the score of the best answer without a model; None where there is none.

    Args:
        rows: of a block. The answers have rows of single folds; their mean is the mean over folds.
        fold: a number, "mean" or "all".
        metric: name of a score.
        size: an object size, "" for the whole test.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.method in TRIVIAL and fold in (row.fold, "mean"):
            score = (row.by_size[size].scores if size in row.by_size else {}) if size else row.scores
            values.setdefault(row.method, []).append(score[metric].value if metric in score else float("nan"))
    means = {name: sum(of_folds) / len(of_folds) for name, of_folds in values.items()}
    known = {name: value for name, value in means.items() if not isnan(value)}
    if not known:
        return None
    best = max(known, key=lambda name: metric_named(metric).sign * known[name])
    return best, known[best]


def is_above(score: Estimate, metric: str, best: float) -> bool:
    """Return whether a score is shown to be above the best answer without a model: its interval excludes that.

    A score without an interval is compared by its value. Nothing can be above an answer that has the best score there
    is, such as presence where every query shows the class; there every score counts as above. Of errors, below is
    above.
    """
    sign = metric_named(metric).sign
    perfect = metric_named(metric).maximum if sign > 0 else metric_named(metric).minimum
    if sign * (best - perfect) >= 0:
        return True
    ends = [score.value, score.low if sign > 0 else score.high]
    return all(sign * end > sign * best for end in ends if not isnan(end))


def mark_of(rows: "Iterable[Row]", fold: str, metric: str, score: Estimate | None, size: str = "") -> str:
    """Return the mark of a method's score that is not shown to be above the best answer without a model, else "".

    Args:
        rows, fold, metric, size: as in `best_without_model`.
        score: of the method; None where it has none.
    """
    best = best_without_model(rows, fold, metric, size)
    return NOT_ABOVE if best is not None and score is not None and not is_above(score, metric, best[1]) else ""


def no_better_than_blind(rows: "Sequence[Row]", metrics: Sequence[str]) -> list[str]:
    """Return a line for each method with a fold, or a mean, that is not above the best support-blind baseline there.

    Args:
        rows: of a block, those of such baselines included; without these nothing is said.
        metrics: of the block; mIoU is compared, and nothing is said where it is not shown.
    """
    if "mIoU" not in metrics:
        return []
    scored = [row for row in rows if row.method not in TRIVIAL and "mIoU" in row.scores]
    best: dict[str, Row] = {}
    for row in scored:
        if not row.sees_supports:
            other = best.setdefault(row.fold, row)
            best[row.fold] = max(other, row, key=lambda blind: blind.scores["mIoU"].value)
    found: dict[str, list[str]] = {}
    for row in scored:
        blind = best.get(row.fold)
        if not row.sees_supports or blind is None or row.scores["mIoU"].value > blind.scores["mIoU"].value:
            continue
        where = {"all": "", "mean": "mean: "}.get(row.fold, f"fold {row.fold}: ")
        own, least = (one.scores["mIoU"].value for one in (row, blind))
        found.setdefault(row.method, []).append(f"{where}{own:.2f}, {blind.method} has {least:.2f}")
    return [
        f"{method} is not above a baseline that sees no support (mIoU; {'; '.join(folds)}): nothing here shows that it "
        "uses its supports"
        for method, folds in found.items()
    ]
