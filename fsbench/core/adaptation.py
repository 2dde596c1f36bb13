"""Settings of an adaptation: what a trained method learns from labelled images of the test's own classes."""

from dataclasses import dataclass
from typing import Literal

from fsbench.base.errors import SettingsError, check_at_least

AdaptationPool = Literal["target_pool", "episode", "none"]
"""Labelled images that a method adapts to: images drawn from the whole pool of the test before it, which is more than
the shots; the supports of each episode, which begins from the trained weights; none."""
AdaptationChoice = Literal["validation", "last"]
"""How the epoch of an adaptation is chosen: by the validation of `data.training.validation`, or it is the last one."""


@dataclass(frozen=True)
class Adaptation:
    """Settings for training a method on labelled images of the test's own classes (ifa.md §5-§7).

    Attributes:
        images: labelled images that the method learns from: "target_pool" (images of the whole pool of the test, before
            the test), "episode" (the supports of each episode, starting from the trained weights) or "none".
        epochs: passes over the training items; with `images="episode"` the number of steps, of one item each.
        items: number of training items (episodes) of a pass; None for one item of each class of the test. Where the
            test's protocol lists its queries one by one (FSS-1000), a number n takes the classes of the first n
            queries.
        batch_size: number of training items of a step.
        learning_rate: learning rate of SGD.
        choice: epoch whose weights are kept: "validation" for the best on validation episodes, "last" for the last
            epoch.
        flip: probability of a horizontal flip of an item's query, and of a vertical one.
        shuffle: whether the quadrants of an item's query are shuffled.
        seed: with `images="episode"`, seed of the random changes, combined with the episode's number; otherwise the
            run's own seed is used.
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
