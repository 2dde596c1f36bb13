"""A test and the one who answers it; and the evaluation of what an interrupted one has left."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from fsbench.base.progress import Sized
from fsbench.protocols.loop import Answerer, Counting, evaluate_batches
from fsbench.records.journal import Journal
from fsbench.records.run import Keep

Counted = TypeVar("Counted", bound=Counting)


@dataclass(frozen=True)
class Answering(Generic[Counted]):
    """A test, and the method that predicts its episodes.

    Attributes:
        name: the name of the method, for messages and tables.
        test: the test, or its protocol with the side of the label maps that are asked for.
        begin: returns a context manager that prepares the method for a test and yields the function that predicts a
            batch.
        begin_fresh: the same for a fresh copy of the method, which remembers nothing, where one can be made.
        batches: returns the batches of the episodes with these numbers.
        in_order: sorts episodes in the order in which the test presents them.
    """

    name: str
    test: Counted
    begin: Callable[[], AbstractContextManager[Answerer]]
    begin_fresh: Callable[[], AbstractContextManager[Answerer]]
    batches: Callable[[Sequence[int]], Sized[Any]]
    in_order: Callable[[Sequence[Any]], Sequence[Any]] = list


@dataclass(frozen=True)
class Share(Generic[Counted]):
    """Episodes of a test that one of several methods still has to predict.

    Attributes:
        answering: the test and the method.
        numbers: the numbers of the episodes that are left.
        journal: file folder to which this process's results are written.
        keep: takes an episode's number and returns how much of its prediction is kept.
        around: returns a context manager in which each batch is predicted, such as the run's own log.
    """

    answering: Answering[Counted]
    numbers: Sequence[int]
    journal: Journal
    keep: Callable[[int], Keep]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext

    @contextmanager
    def taking(self) -> Iterator[Callable[[Any], None]]:
        """Within the block, yield a function that evaluates a batch and writes its results to the journal."""
        left = frozenset(self.numbers)
        with self.answering.begin() as answer, closing(self.journal.open()) as writer:

            def add(results: list[Any]) -> None:
                writer.add([result for result in results if result.episode in left], self.keep)

            def take(batch: Any) -> None:
                with self.around():
                    evaluate_batches([batch], self.answering.test, answer, add, self.answering.name)

            yield take


def evaluate_episodes(
    shares: Sequence[Share[Any]],
    show: Callable[[Sized[Any]], Iterable[Any]],
    part_of: Callable[[Any, frozenset[int]], Any] = lambda batch, left: batch,
) -> None:
    """Evaluate the unfinished episodes of a test; each batch is loaded once for all methods.

    Args:
        shares: for each method, the episodes that it still has to predict; all of the same test.
        show: takes the batches and yields them again, for example with a progress bar.
        part_of: takes a batch and the numbers of the episodes that a method has left; returns that method's batch, None
            if it has none of these episodes left.
    """
    left = [frozenset(share.numbers) for share in shares]
    numbers = list(dict.fromkeys(chain.from_iterable(share.numbers for share in shares)))
    with ExitStack() as stack:
        takers = [stack.enter_context(share.taking()) for share in shares]
        for batch in show(shares[0].answering.batches(numbers)):
            for take, own in zip(takers, left, strict=True):
                if (part := part_of(batch, own)) is not None:
                    take(part)
