"""The outcome of one check: ok, failed or does not apply, each with a line of words."""

from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Literal

Status = Literal["ok", "failed", "does not apply"]


class NotApplicableError(Exception):
    """A check has nothing to look at in this method; the message says why."""


class ViolationError(Exception):
    """A method breaks its contract.

    Args:
        found: what was found.
        expected: what the contract says.
        advice: what to do.
    """

    def __init__(self, found: str, expected: str, advice: str):
        super().__init__(f"found {found}; expected {expected}; {advice}")


class DifferenceError(ViolationError):
    """Two answers differ that should be equal; a more basic rule that is broken may be the reason."""


class ReadsTruthError(ViolationError):
    """A method asks for the truth or cannot do without it: no more basic rule is the reason."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        check: the check's name.
        status: "ok", "failed" or "does not apply".
        text: what was measured; what was found, what was expected and what to do; or why it does not apply.
        error: the exception that nobody foresaw, where one ended the check.
    """

    check: str
    status: Status
    text: str
    error: Exception | None = None


def frame_words(error: BaseException, last: int = -1) -> str:
    """Return the file and the line where an exception was raised, or where its caller of that distance stands."""
    frames = extract_tb(error.__traceback__)
    place = frames[max(last, -len(frames))]
    return f"{Path(place.filename).name}, line {place.lineno}"
