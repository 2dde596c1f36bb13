"""The rules by which a training validates, keeps its best checkpoint and stops: pure functions of epochs and scores.

The rules of the base learner and of HMNet are those of the authors' programs (hmnet.md §2.4.4, §10). Epochs are counted
from 0, steps within an epoch from 1.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ValidationSchedule:
    """After which epochs, and in the middle of which, a training validates.

    Attributes:
        first_epoch: the first epoch that ends with a validation.
        first_middle: the first epoch with a validation in its middle, too; None for no epoch.
        every: from the first epoch on, every epoch (1), every second one (2) and so on ends with a validation.
    """

    first_epoch: int = 0
    first_middle: int | None = None
    every: int = 1

    def validations(self, epoch: int, steps_per_epoch: int) -> list[tuple[int, float]]:
        """Return the validations of `epoch`, in order.

        Returns:
            For each validation the step of the epoch after which it follows, and the epoch number that a checkpoint
            stores then: that of `epoch`, or half an epoch less in the middle.
        """
        middle = self.first_middle is not None and epoch >= self.first_middle
        in_the_middle = [(round(steps_per_epoch / 2) + 1, epoch - 0.5)] if middle else []
        return in_the_middle + ([(steps_per_epoch, epoch)] if self.ends_with_one(epoch) else [])

    def ends_with_one(self, epoch: int) -> bool:
        """Return whether `epoch` ends with a validation."""
        return epoch >= self.first_epoch and (epoch - self.first_epoch) % self.every == 0


@dataclass
class BestScore:
    """The best validation score so far, and the number of epochs since it was reached.

    A score is an improvement if it is strictly greater than the best so far, which is 0 at first.

    Attributes:
        patience: number of epochs without improvement after which the training ends; None to never end early.
        best: the best score.
        waited: number of epochs begun since the last improvement, including those without a validation.
    """

    patience: int | None = None
    best: float = field(default=0.0, init=False)
    waited: int = field(default=0, init=False)

    @property
    def is_over(self) -> bool:
        """Whether the training is to stop before the next epoch."""
        return self.patience is not None and self.waited >= self.patience

    def begin_epoch(self) -> None:
        """Count one more epoch since the last improvement."""
        self.waited += 1

    def update(self, score: float) -> bool:
        """Record the score of a validation; return whether it is the best so far."""
        if score <= self.best:
            return False
        self.best, self.waited = score, 0
        return True
