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
    """Return whether a score is meaningful for queries that do not show the class."""
    return not metric_named(metric).is_over_shown_classes


def ways(frame: "pl.DataFrame") -> np.ndarray:
    """Select the rows (rows,) bool of a count table that are about one way, not the whole episode."""
    return np.asarray((frame["slot"] > 0).to_numpy())


def pairs_by_size(frame: "pl.DataFrame") -> dict[str, np.ndarray]:
    """Return {bin of `SIZES` or `ABSENT`: selected (episode, way) rows (rows,) bool}."""
    bins = {name: pairs_between(frame, lower, upper) for name, (lower, upper) in SIZES.items()}
    return bins | {ABSENT: pairs_by_presence(frame)[ABSENT]}


def pairs_by_presence(frame: "pl.DataFrame") -> dict[str, np.ndarray]:
    """Return {name: selected rows (rows,) bool}, for queries that show the way and those that do not."""
    way, present = ways(frame), frame["present"].to_numpy()
    return {SHOWN: way & present, ABSENT: way & ~present}


def pairs_between(frame: "pl.DataFrame", lower: float, upper: float) -> np.ndarray:
    """Select rows (rows,) bool whose object covers a share of [lower, upper) of its query."""
    way, present = ways(frame), frame["present"].to_numpy()
    share = (frame["gt"] / (frame["void"] + frame["valid"])).to_numpy()
    return np.asarray(way & present & (lower <= share) & (share < upper))


def pairs_by_class(frame: "pl.DataFrame", header: Header) -> dict[str, np.ndarray]:
    """Return {class name: selected (episode, way) rows (rows,) bool}."""
    way, number = ways(frame), frame["class_id"].to_numpy()
    return {name: way & (number == int(key)) for key, name in header.class_names.items()}


@dataclass(frozen=True)
class PartKind:
    """Kind of breakdown of a run, such as by size or by class.

    Attributes:
        head: the head of a column that names the parts.
        select: takes a count table and the header of its run; name of a part -> its (episode, way) pairs (rows,) bool.
        over_folds: whether all folds have the same parts, so that there is a mean over folds.
        needs_masks: whether only runs of segmentation have such parts.
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
    """Return the scores that are meaningful on a part; no IoU if its queries do not show the class."""
    return [metric for metric in metrics if is_of_absent(metric) or kind == CLASS or name != ABSENT]
