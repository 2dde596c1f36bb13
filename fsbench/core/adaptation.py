"""Settings of an adaptation: what a trained method learns from labelled images of the test's own classes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsbench.base.errors import SettingsError
from fsbench.core.data_options import check_at_least
from fsbench.core.query_changes import QueryChanges

AdaptationPool = Literal["target_pool", "episode", "none"]
"""Labelled images that a method adapts to: images drawn from the whole pool of the test before it, which is more than
the shots; the supports of each episode, which begins from the trained weights; none."""
AdaptationChoice = Literal["validation", "last"]
"""How the epoch of an adaptation is chosen: by the validation of `data.training.validation`, or it is the last one."""


@dataclass(frozen=True)
class Adaptation:
    """Settings of an adaptation (ifa.md §5-§7).

    Attributes:
        images: what it learns from.
        epochs: passes over its items; with `episode` steps, one item each.
        items: items of a pass; None for one of each class of the test. Where the protocol lists its queries one by one
            (FSS-1000) a number takes the classes of its first so many.
        batch_size: items of a step.
        learning_rate: of SGD.
        choice: how the epoch is kept.
        flip: probability of each flip of an item's query.
        shuffle: shuffle the quadrants of that query.
        seed: of what `episode` draws, with the episode's number; the run's own seed else.
    """

    images: AdaptationPool = "target_pool"
    epochs: int = 20
    items: int | None = None
    batch_size: int = 12
    learning_rate: float = 5e-4
    choice: AdaptationChoice = "validation"
    flip: float = 0.5
    shuffle: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "items": self.items, "batch_size": self.batch_size}
        check_at_least(1, {f"adaptation.{name}": value for name, value in counts.items()})
        check_at_least(0, {"adaptation.seed": self.seed})
        if not 0 < self.learning_rate < float("inf") or not 0 <= self.flip <= 1:
            raise SettingsError(
                f"adaptation.learning_rate is {self.learning_rate:g} and adaptation.flip {self.flip:g}; expected a "
                "rate above 0, and a probability"
            )

    @property
    def changes(self) -> QueryChanges:
        """The random changes of an item's query."""
        return QueryChanges(self.flip, self.shuffle)


class AdaptationImages(ABC):
    """The labelled images of an adaptation, in the order in which they are learned."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of steps of all epochs."""

    @property
    @abstractmethod
    def images_a_class(self) -> int:
        """Largest number of labelled images of a class, each counted once."""

    @property
    @abstractmethod
    def files(self) -> Sequence[Path]:
        """Image and label files of all epochs."""

    @property
    @abstractmethod
    def hashes(self) -> dict[str, str]:
        """Hashes of the items in their order and of the contents of the files, for a run's identity."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[Any]:
        """Yield the batches of an epoch, whatever the number of processes and of workers."""
