"""Runs whose test is worse than an answer that needs no model, or no better than one that sees no support, in words."""

from collections.abc import Iterator, Sequence
from math import isnan

from fsbench.protocols.reading import metric_named
from fsbench.results.tables.blocks import Row
from fsbench.scores.estimate import Estimate
from fsbench.scores.metric import Metric
from fsbench.scores.trivial import ANSWERS

CHANCE = "(chance)"
"""Label of the trivial answer of classification."""

TRIVIAL = (*ANSWERS, CHANCE)
"""Labels of all answers that need no model."""


def below_trivial(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Return lines for each method with the scores that do not show it above the best trivial answer.

    Those are below the best answer's, or their interval contains it: each score of the block on each fold, and the
    first one by object size. Where an answer has all that can be had, as accuracy where every class is there, nobody
    can be above.

    Args:
        rows: of a block, those of trivial answers included; without these nothing is said.
        metrics: of the block.
    """
    shown = [name for name in metrics if metric_named(name).higher_is_better]
    best: dict[tuple[str, str], tuple[str, float]] = {}
    for row in rows:
        for part, score, _ in _scores(row, shown) if row.method in TRIVIAL else ():
            found_here = row.method, score.value
            best[part, row.fold] = max(best.get((part, row.fold), found_here), found_here, key=lambda one: one[1])
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for part, score, metric in _scores(row, shown) if row.method not in TRIVIAL else ():
            answer, least = best.get((part, row.fold), ("", metric.maximum))
            if least < metric.maximum and not min(score.value, score.low) > least:  # a low of NaN is no interval
                digits = metric.digits()
                where = "" if row.fold == "all" else f", fold {row.fold}"
                words = f"{part}{where}: {score.value:.{digits}f}"
                if not isnan(score.low):
                    words += f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
                place = "below" if score.value < least else "not shown to be above"
                found.setdefault((row.method, place), []).append(f"{words}, {answer} has {least:.{digits}f}")
    return [
        f"{method} is {place} an answer that needs no model ({'; '.join(parts)}): that shows nothing"
        for (method, place), parts in found.items()
    ]


def _scores(row: Row, metrics: Sequence[str]) -> Iterator[tuple[str, Estimate, Metric]]:
    """Yield the scores of a row, then the first one by object size: each with its name in words and its metric."""
    for name in metrics:
        if name in row.scores:
            yield name, row.scores[name], metric_named(name)
    for size, part in row.by_size.items() if metrics else ():
        if metrics[0] in part.scores:
            yield f"{metrics[0]} of objects {size} %", part.scores[metrics[0]], metric_named(metrics[0])


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
