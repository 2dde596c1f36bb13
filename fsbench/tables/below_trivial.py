"""Runs whose test is worse than an answer that needs no model, in words."""

from collections.abc import Sequence

from fsbench.metrics.scores import METRICS
from fsbench.metrics.trivial import ANSWERS
from fsbench.tables.blocks import Row

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
    digits = METRICS[metric].digits()
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
