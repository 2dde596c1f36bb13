"""`fsbench.Answers`: answers to a test in one file, each checked as it is added. No torch is needed."""

from pathlib import Path
from typing import Any

from fsbench.base.errors import RecordError
from fsbench.protocols.kit import answers
from fsbench.protocols.kit.asked import asked_answers
from fsbench.protocols.test import Test


class Answers(answers.Answers):
    """File to which predictions ("answers") for a test are appended; an answer is on the disk when `add` returns.

    An existing file is continued. If its writer was killed in the middle of the last line, that line is cut off.
    Programs without fsbench write the same file with `answers.py`, which every kit (exported test) contains.

    Args:
        path: the file, such as "mine.fsa". Each process that answers needs a file of its own; `fsbench.score` takes
            several.
        test: what `fsbench.load_test` returned, or the folder of a kit, against which every answer is checked; the
            sha256 of the test's list of episodes; or None, and the file does not say which test it answers.

    Attributes:
        done: numbers of the episodes that have an answer.

    Raises:
        RecordError: the file is not a file of answers, is damaged, is for another test, or another process writes it.
        DataError: a query image of the test cannot be read.

    Examples:
        >>> import fsbench, numpy
        >>> test = fsbench.load_test("demo", protocol="pfenet", episodes=5)
        >>> with fsbench.Answers("some.fsa", test) as answers:
        ...     answers.add(test[0], numpy.ones(test[0].size, bool))
        >>> fsbench.Answers("some.fsa", test).done
        {0}
    """

    def __init__(self, path: str | Path, test: Test | str | Path | None = None) -> None:
        known, asked = (test.manifest.sha256, asked_answers(test)) if isinstance(test, Test) else (test, None)
        try:
            super().__init__(path, known, asked)
        except answers.AnswersError as error:
            raise RecordError(str(error)) from None
        self._test = known if isinstance(known, str) and not Path(known).is_dir() else None

    def add(self, number: Any, mask: Any = None, presence: Any = None, score: Any = None, labels: Any = None) -> None:
        """Store the prediction ("answer") of an episode.

        Args:
            number: the number of the episode, or the episode itself.
            mask: (h, w) integers or bool, 0 background and 1 to N the ways, of the size that the episode asks for.
            presence: N bools, whether the query shows each way (class) at all; None if a way is present when the mask
                shows it.
            score: N numbers from 0 to 1, how sure the method is that each way is present; only together with
                `presence`.
            labels: in classification, instead of a mask, the way from 1 to N of each query image.

        Raises:
            RecordError: the test does not have the episode, or it is of another test; it already has an answer; or the
                mask, presence, score or labels have a form that cannot be scored.
        """
        own = getattr(number, "test", None)
        if own and self._test not in (None, own):
            raise RecordError(
                f"episode {number.number} is of the test {own[:16]}, and {self.path} answers {self._test[:16]}; give "
                "each test a file of its own"
            )
        try:
            super().add(number, mask, presence, score, labels)
        except answers.AnswersError as error:
            raise RecordError(str(error)) from None
