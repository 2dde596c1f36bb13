"""How the episodes of one optimiser step are divided over processes, and each process's share into micro-batches."""

from dataclasses import dataclass

from fsbench.base.errors import SettingsError


@dataclass(frozen=True)
class StepDivision:
    """How the episodes of a training step are split over processes and micro-batches.

    A micro-batch is the set of episodes that a process computes at once; its loss is the mean over these episodes. The
    gradient of a step is the mean over all of the step's episodes, whatever the division.

    Args:
        batch_size: episodes of a step, over all processes.
        processes: number of processes that share the step.
        given_micro_batch: number of episodes that a process computes at once; None for all that it has in a step.

    Raises:
        SettingsError: the batch cannot be divided equally. The message has the numbers that are possible.
    """

    batch_size: int
    processes: int = 1
    given_micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size % self.processes:
            lower = self.batch_size // self.processes * self.processes
            batches = f"{lower} or {lower + self.processes}" if lower else str(self.processes)
            raise SettingsError(
                f"batch_size is {self.batch_size} episodes per optimiser step, which {self.processes} processes cannot "
                f"share equally; expected {_divisors(self.batch_size)} as number of processes (DEVICES, times nodes), "
                f"or --data.training.batch_size {batches}, which is another training"
            )
        if self.share % self.micro_batch:
            raise SettingsError(
                f"micro_batch is {self.micro_batch} episodes at once, which does not divide the {self.share} of a "
                f"process (batch_size {self.batch_size}, processes: {self.processes}); expected MICRO_BATCH "
                f"(--data.training.micro_batch) {_divisors(self.share)}"
            )

    @property
    def share(self) -> int:
        """Number of a step's episodes that each process computes."""
        return self.batch_size // self.processes

    @property
    def micro_batch(self) -> int:
        """Number of episodes that a process computes at once."""
        return self.given_micro_batch or self.share

    @property
    def accumulation(self) -> int:
        """Number of micro-batches of a process in one step, whose gradients are summed."""
        return self.share // self.micro_batch

    @property
    def groups(self) -> int:
        """Number of micro-batches of all processes in a step."""
        return self.batch_size // self.micro_batch

    def as_dict(self) -> dict[str, int]:
        """Return the division as plain values, for records."""
        return {"batch_size": self.batch_size, "processes": self.processes, "micro_batch": self.micro_batch}


def _divisors(number: int) -> str:
    """Return the divisors of a number in words: "1, 3, 9 or 27"."""
    divisors = [str(n) for n in range(1, number + 1) if number % n == 0]
    return " or ".join([", ".join(divisors[:-1]), divisors[-1]]) if len(divisors) > 1 else divisors[0]
