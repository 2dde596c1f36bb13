"""What a check found, as a table and a verdict."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from fsbench.errors import FsbenchError

Level = Literal["ok", "differs", "PROBLEM"]
"""As it should be; usable, but not the complete official data; not usable."""
T = TypeVar("T")


@dataclass
class Report:
    """The findings in the order they were made."""

    complete: str = "complete official data"
    """What data without problems and differences are called."""
    findings: list[tuple[Level, str, str]] = field(default_factory=list)

    def ok(self, subject: str, text: str) -> None:
        self.findings.append(("ok", subject, text))

    def differs(self, subject: str, text: str) -> None:
        self.findings.append(("differs", subject, text))

    def problem(self, subject: str, text: str) -> None:
        self.findings.append(("PROBLEM", subject, text))

    def count(self, subject: str, found: int, official: int | None, what: str) -> None:
        """A number of things, compared with the official one."""
        if official is None or found == official:
            self.ok(subject, f"{found} {what}")
        else:
            self.differs(subject, f"{found} {what}; the official data have {official}")

    def attempt(self, subject: str, make: Callable[[], T]) -> T | None:
        """`make()`, or None and a problem where it raises an error meant for the user."""
        with self.errors(subject):
            return make()
        return None

    @contextmanager
    def errors(self, subject: str) -> Iterator[None]:
        try:
            yield
        except FsbenchError as error:
            self.problem(subject, str(error).splitlines()[0])

    @property
    def usable(self) -> bool:
        return not any(level == "PROBLEM" for level, _, _ in self.findings)

    @property
    def verdict(self) -> str:
        if not self.usable:
            problems = sum(level == "PROBLEM" for level, _, _ in self.findings)
            return f"not usable as it is: {problems} problem{'s' * (problems > 1)}"
        if any(level == "differs" for level, _, _ in self.findings):
            return "usable subset: not the complete official data, figures on it compare with no published ones"
        return self.complete

    def text(self) -> str:
        width = max((len(subject) for _, subject, _ in self.findings), default=0)
        return "\n".join(f"{level:8} {subject:{width}}  {text}" for level, subject, text in self.findings)


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and that there are more."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
