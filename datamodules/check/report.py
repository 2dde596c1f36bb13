"""Findings of a check, as a table and a verdict."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

from fsbench.base.errors import FsbenchError

Level = Literal["ok", "note", "differs", "PROBLEM"]
"""Meaning: complete; to be known; usable, but not the complete official data; not usable."""
T = TypeVar("T")


@dataclass
class Report:
    """Findings of `fsbench data check` about a data set, in the order in which they were made.

    Attributes:
        complete: the verdict, in words, for data without problems and differences.
        findings: (level, subject, text) of each finding; level is "ok", "note", "differs" or "PROBLEM".
    """

    complete: str = "complete official data"
    findings: list[tuple[Level, str, str]] = field(default_factory=list)

    def ok(self, subject: str, text: str) -> None:
        """Add the finding that something (`subject`) is as it should be; `text` says what was found."""
        self.findings.append(("ok", subject, text))

    def note(self, subject: str, text: str) -> None:
        """Add a remark that readers of scores should know; the data can be used nevertheless."""
        self.findings.append(("note", subject, text))

    def differs(self, subject: str, text: str) -> None:
        """Add a difference from the official data; the data can be used nevertheless."""
        self.findings.append(("differs", subject, text))

    def problem(self, subject: str, text: str) -> None:
        """Add a finding that makes the data unusable."""
        self.findings.append(("PROBLEM", subject, text))

    def count(self, subject: str, number: int, official: int | None, unit: str) -> None:
        """Add the finding "<number> <unit>": ok if it is the official number or that is None, else a difference."""
        if official is None or number == official:
            self.ok(subject, f"{number} {unit}")
        else:
            self.differs(subject, f"{number} {unit}; the official data have {official}")

    def attempt(self, subject: str, compute: Callable[[], T]) -> T | None:
        """Return `compute()`; if it raises an error meant for the user, add the error as a problem and return None."""
        with self.errors(subject):
            return compute()
        return None

    @contextmanager
    def errors(self, subject: str) -> Iterator[None]:
        """Within the block, turn an error meant for the user into a problem of the report."""
        try:
            yield
        except FsbenchError as error:
            self.problem(subject, str(error).splitlines()[0])

    @property
    def usable(self) -> bool:
        """True if no finding is a problem."""
        return not any(level == "PROBLEM" for level, _, _ in self.findings)

    @property
    def verdict(self) -> str:
        """The result of the check in one sentence."""
        if not self.usable:
            problems = sum(level == "PROBLEM" for level, _, _ in self.findings)
            return f"not usable as it is: {problems} problem{'s' * (problems > 1)}"
        if any(level == "differs" for level, _, _ in self.findings):
            return "usable subset: not the complete official data, figures on it compare with no published ones"
        return self.complete

    def text(self) -> str:
        """Return all findings as aligned lines of text."""
        width = max((len(subject) for _, subject, _ in self.findings), default=0)
        return "\n".join(f"{level:8} {subject:{width}}  {text}" for level, subject, text in self.findings)


@runtime_checkable
class Checked(Protocol):
    """Base class of data sets that `fsbench data check` can check."""

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        """Report on the files in `root`, and on published lists in the folders `lists` if the data set has some."""


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first `most` names, followed by an ellipsis if there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
