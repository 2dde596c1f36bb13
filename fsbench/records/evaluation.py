"""A test and the one who answers it; and the evaluation of what an interrupted one has left."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from fsbench.base.progress import Sized
from fsbench.protocols.evaluation import Answerer, Counting, evaluate_batches
from fsbench.records.journal import Journal
from fsbench.records.predictions import Keep

Counted = TypeVar("Counted", bound=Counting)


@dataclass(frozen=True)
class Answering(Generic[Counted]):
    """A test, and the one who answers it.

    Attributes:
        name: of whoever answers, for messages and tables.
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


def evaluate_episodes(
    answering: Answering[Any],
    numbers: Sequence[int],
    journal: Journal,
    keep: Callable[[int], Keep],
    show: Callable[[Sized[Any]], Iterable[Any]],
) -> None:
    """Evaluate some episodes of a test; the results of each batch are in the journal before the next is answered.

    Args:
        answering: the test, and who answers it.
        numbers: of the episodes.
        journal: where this process's results go.
        keep: how much is kept of an episode's prediction, by its number.
        show: iterates over batches, and may show how far they are.
    """
    with answering.begin() as answer, closing(journal.open()) as writer:
        add = partial(writer.add, keep=keep)
        evaluate_batches(show(answering.batches(numbers)), answering.test, answer, add, answering.name)
