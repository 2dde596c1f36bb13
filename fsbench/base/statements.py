"""Statements that a file makes about what stands beside it, and what each is held against.

A kind of file has one table of them, name -> `Statement`, beside the code that reads the file: whoever adds an entry to
the file adds a line there, or a test fails. docs/guarantees.md shows the tables as they are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Statement(Generic[T]):
    """How one entry of a file that fsbench reads (a record, manifest or card) is checked against other evidence.

    Attributes:
        against: what the entry is compared with, in words for docs/guarantees.md; "believed" and the reason if it is
            not compared.
        contradicted: function from the file's content to words for each contradiction of the entry, with what was found
            and expected; None if the entry is believed, or only compared with a schema when the file is read.
    """

    against: str
    contradicted: Callable[[T], Iterable[str]] | None = None


def contradicted(statements: Mapping[str, Statement[T]], by: T) -> Iterator[str]:
    """Yield in words which statements of a file contradict `by`, the thing that the statements are about."""
    for statement in statements.values():
        if statement.contradicted is not None:
            yield from statement.contradicted(by)
