"""An episode: the names of its images and the numbers of its classes."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field


@dataclass(frozen=True)
class Episode:
    """One few-shot segmentation task: a query image and, for each class (way), the names of its support images.

    `supports` has, for each class number in `classes`, the names of K images. `query_class` is the class for which the
    query was listed. `draw` numbers the random choices of supports for one query; 0 is the official one. An episode
    with `calibrates` is about base classes and no part of the test; it only serves to choose a threshold.
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
    """One few-shot classification task: its classes and images, as positions from 0 in the data set's lists.

    Attributes:
        number: number of the episode in the list of episodes.
        classes: N positions of classes; a label is a position in this tuple.
        support, query: for each class the positions of its K support and q query images in the class's list.
        draw: number of the random choice of supports for these queries; 0 is the official one.
    """

    number: Annotated[int, Field(alias="index")]
    classes: tuple[int, ...]
    support: tuple[tuple[int, ...], ...]
    query: tuple[tuple[int, ...], ...]
    draw: int = 0
    augmented: ClassVar[bool] = False
    calibrates: ClassVar[bool] = False
