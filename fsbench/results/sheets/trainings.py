"""How tables show means over trainings (statistics spec §13.6): heads of columns, their cells, and marks."""

from collections.abc import Callable

from fsbench.results.table import Cell, score_cell
from fsbench.scores.trainings import Reach, TrainedEstimate

TRAININGS, IMAGES, ANOTHER, SPREAD = "trainings", "other images", "and other trainings", "sd"
"""Heads of columns: the number of trainings, both intervals, and the spread of trainings."""
ROUGH, BORROWED, THESE = " rough", "~", "¹"
"""Marks of intervals for other trainings."""

MARK_SIGNS = {
    ROUGH: "rough: only two trainings, so their spread is one number",
    BORROWED: f"{BORROWED}: no star, because a fold with one training takes the spread of the other folds",
}
"""Mark -> its meaning."""
SCORE_SIGNS = {
    **MARK_SIGNS,
    SPREAD: "other images: 95 % interval for other images of these classes and these trainings. and other trainings: "
    "95 % interval for other images and other trainings. sd: standard deviation over trainings",
}
"""Mark, or end of a head, in tables of scores -> its meaning."""
DIFFERENCE_SIGNS = {
    **MARK_SIGNS,
    THESE: f"{THESE}: with these weights, since a method has one training; another may reverse it",
    "images": "other images: the interval for these trainings alone",
}
"""Mark, or end of a head, in tables of differences -> its meaning."""


def training_mark(found: TrainedEstimate | None) -> str:
    """Return the sign behind an interval for other trainings that is rough or uses other folds' spread; else ""."""
    return "" if found is None else ROUGH * found.is_rough + BORROWED * found.is_borrowed


def _another_training(found: TrainedEstimate) -> Cell:
    """Return the cell of the interval for other trainings, or why there is none."""
    if Reach.OTHER not in (spread.reach for spread in found.spreads):
        return Cell(found.spreads[0].reach.words)
    return score_cell(found.other, training_mark(found))


TRAINING_CELLS: dict[str, Callable[[TrainedEstimate], Cell]] = {
    TRAININGS: lambda found: Cell(found.numbers[0] or None),
    IMAGES: lambda found: score_cell(found.these),
    ANOTHER: _another_training,
    SPREAD: lambda found: Cell(found.spreads[0].sd if found.numbers[0] else None),
}
"""Head of a column on trainings -> its cell for a method."""
