"""The loop over a test. A run of the suite, a function in Python and a file of masks differ in who answers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from fsbench.base.errors import NumericsError, SettingsError

Answerer = Callable[[Any], Sequence[Any]]
"""Answers a batch that lacks its truth: one answer for each of its episodes, in their order."""


class Counting(Protocol):
    """Splits batches into input and ground truth, and counts predictions against the ground truth; `Test` is one."""

    def part(self, batch: Any, /) -> tuple[Any, list[Any]]:
        """Split a batch into the method's input and one ground truth for each episode."""

    def count(self, answer: Any, truth: Any, /) -> Any:
        """Count the prediction of one episode against its ground truth, and return the result."""


def evaluate_batches(
    batches: Iterable[Any], test: Counting, answerer: Answerer, add: Callable[[list[Any]], None], name: str
) -> None:
    """Let a method answer the batches of a test without their ground truth, and count its answers.

    Args:
        batches: batches of the test with their ground truth.
        test: the test, or any object with its `part` (splits a batch into input and ground truth) and `count`.
        answerer: function from a batch without ground truth to a list of one answer for each episode.
        add: function that is called with the list of results of each batch, one for each episode.
        name: the name of the method, for messages.

    Raises:
        SettingsError: there is not one answer for each episode, or a mask has another size or other labels than the
            test asks for.
        NumericsError: a presence score is not a finite number.
    """
    for batch in batches:
        seen, truths = test.part(batch)
        add(count_answers(test, answerer(seen), truths, name))


def count_answers(test: Counting, answers: Any, truths: Sequence[Any], name: str) -> list[Any]:
    """Compare each answer of a method with its ground truth, and return the results, such as counts of pixels.

    Args:
        test: the test, or any object with its `count`, which compares an answer with a ground truth.
        answers: one answer for each episode.
        truths: the ground truth of each episode.
        name: the name of the method, for messages.

    Raises:
        SettingsError: there is not one answer for each episode, or a mask has another size or other labels than the
            test asks for.
        NumericsError: a presence score is not a finite number.
    """
    if not isinstance(answers, list | tuple) or len(answers) != len(truths):
        found = f"{len(answers)} answers" if isinstance(answers, list | tuple) else f"a {type(answers).__name__}"
        raise SettingsError(f"{name} gave {found} for {len(truths)} episodes, expected a list of one answer each")
    try:
        return [test.count(answer, truth) for answer, truth in zip(answers, truths, strict=True)]
    except (SettingsError, NumericsError) as error:
        raise type(error)(f"{name}: {error}") from error
