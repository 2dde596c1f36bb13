"""Progress of long work: a bar where a terminal is, else a line every ten seconds at most."""

import sys
import time
from collections.abc import Iterator
from typing import Protocol, TypeVar

from fsbench.base.terminal import is_quiet, print_progress

SECONDS = 10.0
"""Least time between two lines."""

Item = TypeVar("Item", covariant=True)


def duration(seconds: float) -> str:
    """Write a number of seconds in words.

    >>> duration(40), duration(720), duration(11100)
    ('40 s', '12 min', '3 h 05 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


class ProgressLines:
    """Prints lines of progress, at least `SECONDS` apart; none if the command is quiet."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """True if the last line was printed `SECONDS` or more ago."""
        return time.monotonic() - self._last >= SECONDS

    def say(self, text: str) -> None:
        """Print a line of progress if the last one is `SECONDS` ago."""
        if self.is_due:
            self._last = time.monotonic()
            print_progress(text)


def hides_bar() -> bool | None:
    """Return the value for tqdm's argument `disable`: True if --quiet is set, else None (a bar only on a terminal)."""
    return True if is_quiet() else None


def shows_bar() -> bool:
    """Return whether progress is a bar: on a terminal, unless the command is to be quiet."""
    return sys.stdout is not None and sys.stdout.isatty() and not is_quiet()


class Sized(Protocol[Item]):
    """Something with a length to iterate over."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...


def track(items: Sized[Item], description: str, unit: str) -> Iterator[Item]:
    """Yield the items, showing on the standard error how many are done."""
    from tqdm import tqdm  # spares commands that draw no progress its import

    lines, is_terminal = ProgressLines(), sys.stderr is not None and sys.stderr.isatty()
    for number, item in enumerate(tqdm(items, desc=description, unit=unit, leave=False, disable=hides_bar())):
        if not is_terminal:
            lines.say(f"{description}: {number} of {len(items)} {unit}{'es' if unit.endswith('ch') else 's'}")
        yield item
