"""The parts that a run is broken down into: object sizes, classes, and whether the query shows the way.

A further kind of parts is an entry of `PART_KINDS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fsbench.data.episodes.manifest import Header
from fsbench.protocols.reading import metric_named
from fsbench.results.rows.row import CLASS, PRESENCE, SIZE

if TYPE_CHECKING:
    import polars as pl

SIZES = {"0-5": (0.0, 0.05), "5-10": (0.05, 0.10), "10-15": (0.10, 0.15), ">15": (0.15, np.inf)}
"""Share of the query's pixels, void included, that shows the way: [lower, upper)."""

SHOWN = "shown in the query"
ABSENT = "absent"
"""The pairs whose query does not show the way. The run's mIoU counts what is predicted there; by itself, its IoU would
be 0 or nothing."""


def is_of_absent(metric: str) -> bool:
    """Return whether a score can be computed for queries that do not show the class; a mean IoU over classes cannot."""
    return not metric_named(metric).is_over_shown_classes


def ways(frame: "pl.DataFrame") -> np.ndarray:
    """Return (rows,) bool: which rows of a count table are about one way (class), not any foreground."""
    return np.asarray((frame["slot"] > 0).to_numpy())


def pairs_by_size(frame: "pl.DataFrame") -> dict[str, np.ndarray]:
    """Return {range of object sizes, or `ABSENT`: (rows,) bool, the (episode, way) rows of a count table in it}."""
    bins = {name: pairs_between(frame, lower, upper) for name, (lower, upper) in SIZES.items()}
    return bins | {ABSENT: pairs_by_presence(frame)[ABSENT]}


def pairs_by_presence(frame: "pl.DataFrame") -> dict[str, np.ndarray]:
    """Return {name: (rows,) bool} for the (episode, way) rows whose query shows the way, and for the other ones."""
    way, present = ways(frame), frame["present"].to_numpy()
    return {SHOWN: way & present, ABSENT: way & ~present}


def pairs_between(frame: "pl.DataFrame", lower: float, upper: float) -> np.ndarray:
    """Return (rows,) bool: the rows of a count table whose object covers a share in [lower, upper) of its query."""
    way, present = ways(frame), frame["present"].to_numpy()
    share = (frame["gt"] / (frame["void"] + frame["valid"])).to_numpy()
    return np.asarray(way & present & (lower <= share) & (share < upper))


def pairs_by_class(frame: "pl.DataFrame", header: Header) -> dict[str, np.ndarray]:
    """Return {class name: (rows,) bool, the (episode, way) rows of a count table that are about this class}."""
    way, number = ways(frame), frame["class_id"].to_numpy()
    return {name: way & (number == int(key)) for key, name in header.class_names.items()}


@dataclass(frozen=True)
class PartKind:
    """Kind of breakdown of a run's scores, such as by object size or by class.

    Attributes:
        head: heading of the table column that holds the names of the parts, such as class names.
        select: takes a count table and the header of its run; returns {name of a part: (rows,) bool, the (episode, way)
            rows that belong to it}.
        over_folds: whether all folds have the same parts, so that a mean over folds exists.
        needs_masks: whether the breakdown exists for segmentation only.
    """

    head: str
    select: "Callable[[pl.DataFrame, Header], dict[str, np.ndarray]]"
    over_folds: bool = True
    needs_masks: bool = True


PART_KINDS = {
    SIZE: PartKind("object size", lambda frame, _: pairs_by_size(frame)),
    PRESENCE: PartKind("presence", lambda frame, _: pairs_by_presence(frame)),
    CLASS: PartKind("class", pairs_by_class, over_folds=False, needs_masks=False),
}
"""Kind of parts, as rows have it -> what it is."""


def metrics_of_part(metrics: Iterable[str], kind: str, name: str) -> list[str]:
    """Return those of `metrics` that are meaningful on a part; no IoU if its queries do not show the class."""
    return [metric for metric in metrics if is_of_absent(metric) or kind == CLASS or name != ABSENT]
