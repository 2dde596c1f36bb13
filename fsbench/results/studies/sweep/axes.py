"""The numbers that curves go by: shots, ways, the side of images, the kept share of supports, objects of a query."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fsbench.records.record import Record
from fsbench.results.rows.row import KEPT, OBJECTS, SHOTS, SIDE, WAYS


@dataclass(frozen=True)
class AxisWords:
    """Words for the number on the x axis of score curves, such as shots.

    Attributes:
        symbol: heading of the number's table column.
        label: label of the axis in plots.
    """

    symbol: str
    label: str


@dataclass(frozen=True)
class CurveAxis(AxisWords):
    """A number, such as shots or ways, in which runs of one method differ and over which scores are plotted.

    Attributes:
        number: takes a run and returns its value of the number.
        entry: name of the field of the manifest's header or of the run's identity that holds the number.
        of_episodes: whether the number determines the episodes; else all runs of a curve have the same episodes.
        example: a command that runs a method at several numbers.
    """

    number: Callable[[Record], float]
    entry: str
    of_episodes: bool
    example: str


def _side(record: Record) -> float:
    return record.run.identity.image_size or 0


def _kept(record: Record) -> float:
    return round(100 * record.run.identity.kept_support, 6)


AXES: Mapping[str, CurveAxis] = {
    SHOTS: CurveAxis("K", "shots K", lambda r: r.header.shot, "shot", True, "fsbench grid shots --run"),
    WAYS: CurveAxis("N", "ways N", lambda r: r.header.way, "way", True, "fsbench grid ways --run"),
    SIDE: CurveAxis("side", "side of images in pixels", _side, "image_size", False, "fsbench grid sides --run"),
    KEPT: CurveAxis(
        "kept %", "kept share of supports' objects, %", _kept, "kept_support", False, "fsbench grid kept_support --run"
    ),
}
"""Kind of part -> the number by which runs differ."""

WORDS: Mapping[str, AxisWords] = {**AXES, OBJECTS: AxisWords("objects", "objects of the class in the query")}
"""Those and the number of objects, by which the queries of a run differ."""
