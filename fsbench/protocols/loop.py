"""The loop over a test. A run of the suite, a function in Python and a file of masks differ in who answers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from fsbench.base.errors import NumericsError, SettingsError

Answerer = Callable[[Any], Sequence[Any]]
"""Answers a batch that lacks its truth: one answer for each of its episodes, in their order."""


class Counting(Protocol):
    """Splits batches into input and truth, and counts answers against the truth; `Test` is one."""

    def part(self, batch: Any, /) -> tuple[Any, list[Any]]:
        """Split a batch into the method's input and one truth for each episode."""

    def count(self, answer: Any, truth: Any, /) -> Any:
        """Count the answer to one episode."""


def evaluate_batches(
    batches: Iterable[Any], test: Counting, answerer: Answerer, add: Callable[[list[Any]], None], name: str
) -> None:
    """Let `answerer` answer the batches of a test without their truth, and count the answers.

    Args:
        batches: items of the test with their truth.
        test: parts a batch from its truth, and counts an answer.
        answerer: see `Answerer`.
        add: takes the results of each batch.
        name: the name of whoever answers, for messages.

    Raises:
        SettingsError: there is not one answer for each episode, or a mask of another size or with other labels.
        NumericsError: a presence score is no finite number.
    """
    for batch in batches:
        seen, truths = test.part(batch)
        add(count_answers(test, answerer(seen), truths, name))


def count_answers(test: Counting, answers: Any, truths: Sequence[Any], name: str) -> list[Any]:
    """Count one answer for each truth; arguments and errors as in `evaluate_batches`."""
    if not isinstance(answers, list | tuple) or len(answers) != len(truths):
        found = f"{len(answers)} answers" if isinstance(answers, list | tuple) else f"a {type(answers).__name__}"
        raise SettingsError(f"{name} gave {found} for {len(truths)} episodes, expected a list of one answer each")
    try:
        return [test.count(answer, truth) for answer, truth in zip(answers, truths, strict=True)]
    except (SettingsError, NumericsError) as error:
        raise type(error)(f"{name}: {error}") from error
