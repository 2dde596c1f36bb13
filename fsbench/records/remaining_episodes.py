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
    """A test, and a method that answers it.

    Attributes:
        name: the name of whoever answers, for messages and tables.
        test: a test, or its protocol; with the side of its answers, where that decides their size.
        begin: makes whoever answers ready for a test, and yields the function that answers a batch.
        begin_fresh: the same, of a copy that remembers nothing, where one can be made.
        batches: gives the batches of some episodes, by their numbers.
        in_order: sorts episodes as the test asks them.
    """

    name: str
    test: Counted
    begin: Callable[[], AbstractContextManager[Answerer]]
    begin_fresh: Callable[[], AbstractContextManager[Answerer]]
    batches: Callable[[Sequence[int]], Sized[Any]]
    in_order: Callable[[Sequence[Any]], Sequence[Any]] = list


@dataclass(frozen=True)
class Share(Generic[Counted]):
    """Episodes of a test that one of several methods still has to answer.

    Attributes:
        answering: the test, and who answers it.
        numbers: the numbers of the episodes that are left.
        journal: where this process's results go.
        keep: how much is kept of an episode's prediction, by its number.
        around: what each of its batches is answered in, such as its own log.
    """

    answering: Answering[Counted]
    numbers: Sequence[int]
    journal: Journal
    keep: Callable[[int], Keep]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext

    @contextmanager
    def taking(self) -> Iterator[Callable[[Any], None]]:
        """Yield a function that evaluates a batch and writes its results to the journal."""
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
        shares: the shares of those who answer, each of the same test.
        show: iterates over batches, and may show how far they are.
        part_of: gives each of several who answer a batch of its own, of the batch and the numbers of the episodes that
            it has left; None if it has none of them left.
    """
    left = [frozenset(share.numbers) for share in shares]
    numbers = list(dict.fromkeys(chain.from_iterable(share.numbers for share in shares)))
    with ExitStack() as stack:
        takers = [stack.enter_context(share.taking()) for share in shares]
        for batch in show(shares[0].answering.batches(numbers)):
            for take, own in zip(takers, left, strict=True):
                if (part := part_of(batch, own)) is not None:
                    take(part)
