"""Cache of the data sets and checked settings that several runs of one command share. It imports no torch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class SharedParts:
    """Cache of objects that several runs share, so that each is built once.

    Attributes:
        datasets: {`dataset_key`: data set}; the data sets also hold image lists and episodes that were drawn.
        judged: {settings in which runs agree, as text: the `ParsedRun` that the parser has checked with them};
            later runs with the same settings are not checked again.
    """

    datasets: dict[str, Any] = field(default_factory=dict)
    judged: dict[str, Any] = field(default_factory=dict)


def dataset_key(kind: type, /, *args: Any, **arguments: Any) -> str:
    """Return the key in `SharedParts.datasets` of the data set that `kind(*args, **arguments)` makes."""
    return repr((kind, args, sorted(arguments.items())))
