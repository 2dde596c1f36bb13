"""A test as the doors are given it, in parts, and the one who answers them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from fsbench.base.errors import SettingsError
from fsbench.base.progress import Sized
from fsbench.protocols.evaluation import Answerer
from fsbench.protocols.test import Test


def check_test(test: Any) -> None:
    """Raise SettingsError unless `test` is a test."""
    if not isinstance(test, Test):
        raise SettingsError(
            f"the test is a {type(test).__name__}; expected what fsbench.load_test returns, such as load_test('demo')"
        )


@dataclass(frozen=True)
class Parts:
    """A test in parts, and the one who answers them.

    Attributes:
        test: with the side of its answers, where that decides their size.
        answering: yields the function that answers a part.
        fresh: the same, of a copy of whoever answers, where one can be made.
        batches: gives the parts of some episodes, by their numbers.
        parameters: (learned, all) of a method; None where nobody knows.
        in_order: sorts episodes as the test asks them.
        identity: that answers follow from besides the test, as far as it is known: with another one nothing goes on.
    """

    test: Test
    answering: Callable[[], AbstractContextManager[Answerer]]
    fresh: Callable[[], AbstractContextManager[Answerer]]
    batches: Callable[[Sequence[int]], Sized[Any]]
    parameters: tuple[int, int] | None = None
    in_order: Callable[[Sequence[Any]], Sequence[Any]] = list
    identity: tuple[Any, ...] = ()
