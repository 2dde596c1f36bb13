"""The base of frozen dataclasses whose fields are options: which of them a run's identity states."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Options:
    """Base class of dataclasses of options."""

    ELSEWHERE: ClassVar[frozenset[str]] = frozenset()
    """Fields that a run's identity states in entries of their own, or through the manifest's hash."""

    @property
    def differing(self) -> dict[str, Any]:
        """{name: value} of options, except those in `ELSEWHERE`, with other than their default values."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in self.ELSEWHERE}
        usual = {one.name: one.default for one in fields(self)}
        return {name: value for name, value in own.items() if value != usual[name]}
