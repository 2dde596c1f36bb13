"""Trivial answers, which need no model, on the episodes of a record: the floor under every table.

They follow from the counts alone, because the counts hold the truth's pixels of every slot.
"""

from typing import TYPE_CHECKING

from fsbench.scores.confusion import REGIONS

if TYPE_CHECKING:
    import polars as pl

ANSWERS = ("(all foreground)", "(all background)", "(majority)")

CHANCE = "(chance)"
"""Label of the trivial answer of classification."""

TRIVIAL = (*ANSWERS, CHANCE)
"""Labels of all answers that need no model."""

_AT = " at "


def label_at(answer: str, side: int | None) -> str:
    """Return the label of a trivial prediction, without a model, counted at side `side` (None: the query's size)."""
    return answer if side is None else f"{answer}{_AT}{side} px"


def is_trivial(label: str) -> bool:
    """Return whether a label belongs to a trivial prediction without a model, such as "(majority)".

    >>> is_trivial("(majority)"), is_trivial(label_at("(majority)", 473)), is_trivial("hsnet")
    (True, True, False)
    """
    return label.partition(_AT)[0] in TRIVIAL


def trivial_answers(frame: "pl.DataFrame") -> dict[str, "pl.DataFrame"]:
    """Return {label of a trivial prediction without a model: its count table}, derived from a run's counts.

    The predictions are: everything is way 1 and every way is present; everything is background and no way is present;
    and, for pixels and for presence separately, whichever is more common in the truth of these episodes.
    """
    frame = frame.drop(REGIONS, strict=False)
    foreground, background = _foreground(frame), _background(frame)
    first = frame.filter(frame["slot"] == 0)
    ways = frame.filter(frame["slot"] > 0)
    mostly_foreground = first["gt"].sum() * 2 > (first["valid"] + first["void"]).sum()
    mostly_present = 2 * ways["present"].sum() >= len(ways)
    majority = (foreground if mostly_foreground else background).with_columns(
        (foreground if mostly_present else background)["decided"]
    )
    return dict(zip(ANSWERS, (foreground, background, majority), strict=True))


def _foreground(frame: "pl.DataFrame") -> "pl.DataFrame":
    # spared until it is needed
    import polars as pl

    chosen = pl.col("slot") <= 1  # any foreground, and way 1
    return frame.with_columns(
        tp=pl.when(chosen).then(pl.col("gt")).otherwise(0),
        pred=pl.when(chosen).then(pl.col("valid")).otherwise(0),
        pred_void=pl.when(chosen).then(pl.col("void")).otherwise(0),
        decided=pl.lit(True),
        score=pl.lit(1.0),
    )


def _background(frame: "pl.DataFrame") -> "pl.DataFrame":
    # spared until it is needed
    import polars as pl

    zero = pl.lit(0, dtype=pl.Int64)
    return frame.with_columns(tp=zero, pred=zero, pred_void=zero, decided=pl.lit(False), score=pl.lit(0.0))
