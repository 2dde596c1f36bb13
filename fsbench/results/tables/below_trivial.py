"""Runs whose test is worse than an answer that needs no model, or no better than one that sees no support, in words."""

from collections.abc import Sequence

from fsbench.protocols.registry import metric_named
from fsbench.results.tables.blocks import Row
from fsbench.scores.trivial import ANSWERS

CHANCE = "(chance)"
"""Label of the trivial answer of classification."""

TRIVIAL = (*ANSWERS, CHANCE)
"""Labels of all answers that need no model."""


def below_trivial(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Return a line for each method with a fold whose score is below that of the best trivial answer there.

    Args:
        rows: of a block, those of trivial answers included; without these nothing is said.
        metrics: of the block; mIoU is compared where it is shown, else accuracy.
    """
    metric = next((name for name in ("mIoU", "accuracy") if name in metrics), None)
    if metric is None:
        return []
    best: dict[str, Row] = {}
    for row in rows:
        if row.method in TRIVIAL and metric in row.scores:
            other = best.setdefault(row.fold, row)
            best[row.fold] = max(other, row, key=lambda answer: answer.scores[metric].value)
    found: dict[str, list[str]] = {}
    digits = metric_named(metric).digits()
    for row in rows:
        floor = best.get(row.fold)
        if floor is None or metric not in row.scores or row.method in TRIVIAL:
            continue
        score, least = row.scores[metric].value, floor.scores[metric].value
        if score < least:
            where = "" if row.fold == "all" else f"fold {row.fold}: "
            words = f"{where}{score:.{digits}f}, {floor.method} has {least:.{digits}f}"
            found.setdefault(row.method, []).append(words)
    return [
        f"{method} is below an answer that needs no model ({metric}; {'; '.join(folds)}): its figures show nothing"
        for method, folds in found.items()
    ]


def no_better_than_blind(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
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
