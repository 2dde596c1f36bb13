"""Tables as data frames: the numbers of blocks as polars has them."""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import SettingsError, known_names
from fsbench.results.tables.blocks import Block, Row
from fsbench.results.tables.compare import Comparison
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    import polars as pl

NUMBERS = ("low", "high", "p", "corrected", "finds", "times", "times low", "times high")
"""Columns of numbers that some lines of a comparison lack."""

PARTS = {"class": "class", "size": "object size"}
"""Breakdowns that a frame can have -> the column that names a part."""


def blocks_frame(blocks: Sequence[Block], by: str | None = None) -> "pl.DataFrame":
    """Return the scores of tables, a row for each method and fold.

    Args:
        blocks: the tables.
        by: "class" or "size": a row for each part of these instead, where the blocks have them.

    Returns:
        Columns test, method, fold (a number, "mean", or "all" without folds); with `by`, class or object size, and
        the numbers of its episodes and (episode, way) pairs; for each score the value and the ends of its 95 %
        interval, as mIoU, mIoU low and mIoU high, null where there is none; and run, the name of the run's folder,
        empty of a mean or an answer that needs no model.

    Raises:
        SettingsError: `by` is another word.
    """
    # spared until it is needed
    import polars as pl

    if by is not None and by not in PARTS:
        raise SettingsError(f"by is '{by}', expected a part or nothing{known_names(by, PARTS)}")
    lines = [(block, row, part, scores) for block in blocks for row in block.rows for part, scores in _parts(row, by)]
    metrics = dict.fromkeys(metric for *_, scores in lines for metric in scores)
    columns: dict[str, Any] = {
        "test": pl.Series([block.title for block, *_ in lines], dtype=pl.String),
        "method": pl.Series([row.method for _, row, *_ in lines], dtype=pl.String),
        "fold": pl.Series([row.fold for _, row, *_ in lines], dtype=pl.String),
    }
    if by is not None:
        columns[PARTS[by]] = pl.Series([part[0] for *_, part, _ in lines], dtype=pl.String)
        columns["episodes"] = pl.Series([part[1] for *_, part, _ in lines], dtype=pl.Int64)
        columns["pairs"] = pl.Series([part[2] for *_, part, _ in lines], dtype=pl.Int64)
    for metric in metrics:
        for end, suffix in (("value", ""), ("low", " low"), ("high", " high")):
            values = [_number(getattr(scores[metric], end)) if metric in scores else None for *_, scores in lines]
            columns[metric + suffix] = pl.Series(values, dtype=pl.Float64)
    columns["run"] = pl.Series([row.run for _, row, *_ in lines], dtype=pl.String)
    return pl.DataFrame(columns)


def _number(value: float) -> float | None:
    """Return a number, or None of NaN, which stands for none."""
    return None if isnan(value) else value


def _parts(row: Row, by: str | None) -> Iterator[tuple[tuple[str, int, int], dict[str, Estimate]]]:
    """Yield the name, episodes and pairs of each part of a row, and its scores."""
    if by is None:
        yield ("", 0, 0), row.scores
    elif by == "size":
        for name, part in row.by_size.items():
            yield (name, part.episodes, part.pairs), part.scores
    elif row.fold != "mean":  # classes differ from fold to fold
        for name, part in row.by_class.items():
            yield (name, part.episodes, part.pairs), part.scores


def comparison_frame(comparison: Comparison) -> "pl.DataFrame":
    """Return the lines of a comparison, a row each.

    Returns:
        Columns fold (a number, or "mean"), part ("all", an object size or a class), metric, first and second method and
        their scores, difference (first minus second, in the unit of the metric) with low and high, the ends of its 95 %
        interval, holds for (images, these supports, identical or none: what the interval is about), p, corrected (p
        after Holm's correction over all lines), significant, equivalent (within the margin that was asked for), images,
        episodes, and of whole tests finds (the smallest true difference that such a test finds in 80 of 100 cases) and
        times with times low and times high (as many times as many images find the effect that was asked for). Null
        where there is none; equivalent and the last four are of scores in points alone.
    """
    # spared until it is needed
    import polars as pl

    lines = [
        {
            "fold": line.fold,
            "part": line.part,
            "metric": metric,
            "first": line.difference.method,
            "second": line.difference.other,
            "first score": line.difference.scores[0],
            "second score": line.difference.scores[1],
            "difference": line.difference.difference.value,
            "low": _number(line.difference.difference.low),
            "high": _number(line.difference.difference.high),
            "holds for": str(line.difference.difference.scope),
            "p": _number(line.p),
            "corrected": _number(line.corrected),
            "significant": line.significant,
            "equivalent": line.equivalent,
            "images": line.images,
            "episodes": line.episodes,
            "finds": line.size and line.size.smallest,
            "times": line.size and line.size.times,
            "times low": line.size and line.size.times_low,
            "times high": line.size and line.size.times_high,
        }
        for by_metric in comparison.tables.values()
        for metric, of_metric in by_metric.items()
        for line in of_metric
    ]
    return pl.DataFrame(
        lines,
        schema_overrides=dict.fromkeys(NUMBERS, pl.Float64) | {"equivalent": pl.Boolean},
        infer_schema_length=None,
    )
