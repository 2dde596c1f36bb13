"""Answers that need no model beside the methods: the best of them, and the scores that do not show a method above."""

from collections.abc import Iterable
from math import inf, isnan
from typing import TYPE_CHECKING

from fsbench.protocols.reading import metric_named
from fsbench.results.rows.row import ALL, FOLD, MEAN, SIZE, ResultRow
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    from fsbench.results.tables.blocks import Block

NOT_ABOVE = "!"
"""Mark of a score that is not shown to be above the best answer without a model."""


def best_without_model(
    answers: Iterable[ResultRow], fold: str, metric: str, size: str = ALL
) -> tuple[str, float] | None:
    """Return (label, score) of the best trivial prediction without a model; None if there is none.

    Args:
        answers: result rows of trivial predictions, such as "all background".
        fold: number of a fold, "mean" (over folds) or "all" (a test without folds).
        metric: name of a score.
        size: name of a range of object sizes such as "0-5", or "all" for the whole test.
    """
    known = values_without_model(answers, fold, metric, size)
    return max(known.items(), key=lambda item: metric_named(metric).sign * item[1], default=None)


def values_without_model(answers: Iterable[ResultRow], fold: str, metric: str, size: str = ALL) -> dict[str, float]:
    """Return {label: score} of trivial predictions without a model.

    Args:
        answers: result rows of trivial predictions.
        fold: number of a fold, "mean" (over folds) or "all" (a test without folds).
        metric: name of a score.
        size: name of a range of object sizes such as "0-5", or "all" for the whole test.
    """
    kinds = (ALL, FOLD) if size == ALL else (SIZE,)
    return {
        row.method: row.estimate.value
        for row in answers
        if (row.metric, row.fold) == (metric, fold) and row.part_kind in kinds and size in (ALL, row.part)
        if not isnan(row.estimate.value)
    }


def is_above(score: Estimate, metric: str, best: float) -> bool:
    """Return whether a score is better than the best trivial prediction: the score's interval excludes that value.

    A score without an interval is compared by its value. If the trivial prediction already has the best possible score,
    as for presence where every query shows the class, the result is True. For error rates, lower is better.

    Args:
        score: the score of a method.
        metric: name of the score.
        best: the score of the best trivial prediction without a model.
    """
    sign = metric_named(metric).sign
    perfect = metric_named(metric).maximum if sign > 0 else metric_named(metric).minimum
    if sign * (best - perfect) >= 0:
        return True
    ends = [score.value, score.low if sign > 0 else score.high]
    return all(sign * end > sign * best for end in ends if not isnan(end))


def mark_of(answers: Iterable[ResultRow], fold: str, metric: str, score: Estimate | None, size: str = ALL) -> str:
    """Return "!" if a method's score may be no better than the best trivial prediction without a model, else "".

    Args:
        answers: result rows of trivial predictions.
        fold: number of a fold, "mean" (over folds) or "all" (a test without folds).
        metric: name of the score.
        size: name of a range of object sizes such as "0-5", or "all" for the whole test.
        score: the score of the method; None if it has none.
    """
    best = best_without_model(answers, fold, metric, size)
    return NOT_ABOVE if best is not None and score is not None and not is_above(score, metric, best[1]) else ""


def no_better_than_blind(block: "Block") -> list[str]:
    """Return a line for each method that may be no better than a baseline that gets no supports.

    The methods are compared in mIoU. The list is empty without such a baseline or without mIoU.
    """
    if "mIoU" not in block.metrics:
        return []
    scored = [(line, scores["mIoU"].value) for line, scores in block.method_lines.items() if "mIoU" in scores]
    best: dict[str, tuple[str, float]] = {}
    for (method, fold), value in scored:
        if method in block.blind and value > best.get(fold, ("", -inf))[1]:
            best[fold] = method, value
    found: dict[str, list[str]] = {}
    for (method, fold), value in scored:
        blind, least = best.get(fold, ("", -inf))
        if method not in block.blind and value <= least:
            where = {ALL: "", MEAN: "mean: "}.get(fold, f"fold {fold}: ")
            found.setdefault(method, []).append(f"{where}{value:.2f}, {blind} has {least:.2f}")
    return [
        f"{method} scores no higher than a baseline that sees no support (mIoU, {'; '.join(folds)}). Nothing shows "
        f"that {method} uses its supports"
        for method, folds in found.items()
    ]
