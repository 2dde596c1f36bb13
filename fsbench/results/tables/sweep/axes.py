"""The numbers that curves go by: shots, ways, the side of images, the kept share of supports, objects of a query."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fsbench.records.record import Record

Axis = Literal["shot", "way", "side", "kept"]


@dataclass(frozen=True)
class AxisWords:
    """A number that curves go by, in words.

    Attributes:
        word: of `fsbench table --by`.
        symbol: head of its column.
        label: of the axis in figures.
    """

    word: str
    symbol: str
    label: str


@dataclass(frozen=True)
class CurveAxis(AxisWords):
    """A number by which runs of one method differ.

    Attributes:
        number: of a run.
        setting: entry of a run's identity that is the number; None where the number decides which episodes there are,
            of which the runs of a curve have the same otherwise.
        example: command that makes runs of several such numbers.
    """

    number: Callable[[Record], float]
    setting: str | None
    example: str

    @property
    def of_episodes(self) -> bool:
        """Whether the number decides which episodes there are."""
        return self.setting is None


def _side(record: Record) -> float:
    return record.run.identity.image_size or 0


def _kept(record: Record) -> float:
    return round(100 * record.run.identity.kept_support, 6)


AXES: dict[Axis, CurveAxis] = {
    "shot": CurveAxis("shots", "K", "shots K", lambda r: r.header.shot, None, "fsbench grid shots --run"),
    "way": CurveAxis("ways", "N", "ways N", lambda r: r.header.way, None, "fsbench grid ways --run"),
    "side": CurveAxis("side", "side", "side of images in pixels", _side, "image_size", "fsbench grid sides --run"),
    "kept": CurveAxis(
        "kept",
        "kept %",
        "kept share of supports' objects, %",
        _kept,
        "kept_support",
        "fsbench grid kept_support --run",
    ),
}
"""Numbers by which runs differ."""

OBJECTS = "objects"
WORDS: dict[str, AxisWords] = {
    **{str(name): axis for name, axis in AXES.items()},
    OBJECTS: AxisWords(OBJECTS, "objects", "objects of the class in the query"),
}
"""Those and the number of objects, by which the queries of a run differ."""
