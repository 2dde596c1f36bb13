"""A test and the one who answers it; and the evaluation of what an interrupted one has left."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from fsbench.base.generators import steady
from fsbench.base.progress import Sized
from fsbench.base.terminal import print_note
from fsbench.protocols.loop import Answerer, evaluate_batches
from fsbench.protocols.test import Test
from fsbench.records.journal import Journal
from fsbench.records.run import Keep


@dataclass(frozen=True)
class Answering:
    """A test and the method `name`, as functions that prepare the method and load the test's episodes.

    Attributes:
        begin: returns a context manager that prepares the method and yields the function that predicts a batch.
        begin_fresh: like `begin`, for a fresh copy of the method, which remembers nothing, if a copy can be made.
        batches: returns the batches of the episodes with the given numbers.
        in_order: sorts episodes in the order in which the test presents them.
    """

    name: str
    test: Test
    begin: Callable[[], AbstractContextManager[Answerer]]
    begin_fresh: Callable[[], AbstractContextManager[Answerer]]
    batches: Callable[[Sequence[int]], Sized[Any]]
    in_order: Callable[[Sequence[Any]], Sequence[Any]] = list


@dataclass(frozen=True)
class Share:
    """Numbers of the episodes of a test that a method still has to predict, and the journal for its results.

    Attributes:
        keep: function from an episode's number to how much of its prediction is kept.
        around: returns a context manager in which each batch is predicted, such as one that writes to the run's log.
    """

    answering: Answering
    numbers: Sequence[int]
    journal: Journal
    keep: Callable[[int], Keep]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext

    @contextmanager
    def taking(self, left: frozenset[int]) -> Iterator[Callable[[Any], None]]:
        """Within the block, yield a function that evaluates a batch and writes results of episodes `left`."""
        name = self.answering.name
        with self.answering.begin() as answer, closing(self.journal.open()) as writer:

            @cache  # each sentence once
            def tell(sentence: str) -> None:
                print_note(sentence)
                self.journal.note(sentence)

            def add(results: list[Any]) -> None:
                writer.add([result for result in results if result.episode in left], self.keep)

            def take(batch: Any) -> None:
                with self.around():
                    evaluate_batches([batch], self.answering.test, steady(name, tell)(answer), add, name)

            yield take


def evaluate_episodes(
    shares: Sequence[Share],
    show: Callable[[Sized[Any]], Iterable[Any]],
    part_of: Callable[[Any, frozenset[int]], Any] = lambda batch, left: batch,
) -> None:
    """Evaluate the unfinished episodes of a test; each batch is loaded once for all methods.

    `show` takes the batches and yields them again, for example with a progress bar. `part_of` returns the part of a
    batch with these episode numbers; None if it has none of them.
    """
    left = [frozenset(share.numbers) for share in shares]
    numbers = list(dict.fromkeys(number for share in shares for number in share.numbers))
    with ExitStack() as stack:
        takers = [stack.enter_context(share.taking(own)) for share, own in zip(shares, left, strict=True)]
        for batch in show(shares[0].answering.batches(numbers)):
            for take, own in zip(takers, left, strict=True):
                if (part := part_of(batch, own)) is not None:
                    take(part)
