"""An episode: the names of its images and the numbers of its classes."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field


@dataclass(frozen=True)
class Episode:
    """One task: a query and, for each way, the names of its support images. Ways are in the order of the draw.

    `draw` numbers the draws of the supports for one query; 0 is the official one. An episode that `calibrates` is about
    base classes and is no part of the test: the protocol chooses a threshold by it.
    """

    number: Annotated[int, Field(alias="index")]
    query: str
    query_class: int
    classes: tuple[int, ...]
    supports: tuple[tuple[str, ...], ...]
    augmented: bool = False
    draw: int = 0
    calibrates: bool = False


@dataclass(frozen=True)
class ClassificationEpisode:
    """One task of classification: its classes and images, by their positions in the data set's lists.

    Attributes:
        number: number in the list of episodes.
        classes: N positions; a label is a place in this tuple.
        support, query: for each class K and q positions of images.
        draw: number of the draw of the supports for these queries; 0 is the official one.
    """

    number: Annotated[int, Field(alias="index")]
    classes: tuple[int, ...]
    support: tuple[tuple[int, ...], ...]
    query: tuple[tuple[int, ...], ...]
    draw: int = 0
    augmented: ClassVar[bool] = False
    calibrates: ClassVar[bool] = False
