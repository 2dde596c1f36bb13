"""The outcome of one check: ok, failed or does not apply, each with a line of words."""

from dataclasses import dataclass
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
