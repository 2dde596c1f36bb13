"""A bounded memory of frozen features, for images that come again in other episodes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from torch import Tensor

Features = Tensor | tuple[Tensor, ...]
F = TypeVar("F", bound=Features)


class FeatureCache:
    """Tensors, or tuples of them, by kind and key, at most `max_bytes` in all; `bytes` are there now.

    What makes room for a new tensor is the kind with the biggest tensors, and in it what was used longest ago: every
    entry saves the encoding of one image, and a query's features are several times as big as a support's.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self._kinds: dict[str, OrderedDict[Hashable, Features]] = {}

    def get(self, kind: str, key: Hashable, compute: Callable[[], F]) -> F:
        """The tensor `key` of `kind`, computed when it is not there (and kept when it fits)."""
        entries = self._kinds.setdefault(kind, OrderedDict())
        if key in entries:
            self.hits += 1
            entries.move_to_end(key)
            return cast(F, entries[key])
        self.misses += 1
        value = compute()
        if _nbytes(value) <= self.max_bytes:
            self._kinds.setdefault(kind, OrderedDict())[key] = value  # looked up again: computing may clear the cache
            self.bytes += _nbytes(value)
            while self.bytes > self.max_bytes:
                self._evict(keep=value)
        return value

    def _evict(self, keep: Features) -> None:
        """Drop one tensor, but never the one that just came."""
        oldest = [(next(iter(entries.items())), entries) for entries in self._kinds.values() if entries]
        candidates = [(_nbytes(value), key, entries) for (key, value), entries in oldest if value is not keep]
        size, key, entries = max(candidates, key=lambda candidate: candidate[0])
        del entries[key]
        self.bytes -= size

    def forget(self, key: Hashable) -> None:
        """Drop what is kept of `key`, of every kind."""
        for entries in self._kinds.values():
            value = entries.pop(key, None)
            self.bytes -= 0 if value is None else _nbytes(value)

    def clear(self) -> None:
        self._kinds.clear()
        self.bytes = 0


def _nbytes(value: Features) -> int:
    return value.nbytes if isinstance(value, Tensor) else sum(tensor.nbytes for tensor in value)
