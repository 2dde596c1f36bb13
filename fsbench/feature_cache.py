"""A bounded memory of frozen features, for images that come again in other episodes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from torch import Tensor


class FeatureCache:
    """Least-recently-used tensors, at most `max_bytes` for each kind of feature.

    Kinds have room of their own (an equal share), because a query's features are several times as big as a support's
    and would push out the many supports that come again and again.
    """

    def __init__(self, max_bytes: int, kinds: int = 2):
        self.max_bytes = max_bytes // kinds
        self.hits = 0
        self.misses = 0
        self._kinds: dict[str, OrderedDict[Hashable, Tensor]] = {}
        self._bytes: dict[str, int] = {}

    def get(self, kind: str, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor `key` of `kind`, computed when it is not there (and kept when it fits)."""
        entries = self._kinds.setdefault(kind, OrderedDict())
        if key in entries:
            self.hits += 1
            entries.move_to_end(key)
            return entries[key]
        self.misses += 1
        value = compute()
        if value.nbytes <= self.max_bytes:
            used = self._bytes.get(kind, 0) + value.nbytes
            while used > self.max_bytes:
                used -= entries.popitem(last=False)[1].nbytes
            entries[key] = value
            self._bytes[kind] = used
        return value

    def clear(self) -> None:
        self._kinds.clear()
        self._bytes.clear()
