"""A bounded memory of frozen features, for images that come again in other episodes."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor

from fsbench.base.errors import NumericsError

Features = Tensor | tuple[Tensor, ...]
F = TypeVar("F", bound=Features)
CacheDtype = Literal["float32", "bfloat16", "float16"]


class FeatureCache:
    """Tensors, or tuples of them, by kind and key, at most `max_bytes` in all; `bytes` are there now.

    A tensor that is a part of a larger one, such as one image's of a batch, is copied: a view would hold the memory of
    the whole.

    What makes room for a new tensor is the kind with the biggest tensors, since every entry saves the encoding of one
    image, and a query's features are several times as big as a support's. Within that kind go first the
    tensors that were kept before `forget_expectations` and not used since, then the one that is expected to be used
    last. While nothing is expected, it is the one that was used longest ago.

    Args:
        max_bytes: bound on what is kept where it was computed.
        dtype: type that float32 tensors are kept in. A narrower one rounds every tensor that passes through, also one
            that is not kept, so that a value does not depend on how often it was asked for.
        spill_bytes: bound on the host memory for what had to make room.
    """

    def __init__(self, max_bytes: int, dtype: CacheDtype = "float32", spill_bytes: int = 0):
        self.max_bytes = max_bytes
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.spill_bytes = spill_bytes
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self.spilled_bytes = 0
        self._kinds: dict[str, OrderedDict[Hashable, Features]] = {}
        self._next_use: dict[Hashable, int] = {}
        self._left_over: set[Hashable] = set()
        self._spilled: OrderedDict[tuple[str, Hashable], tuple[Features, torch.device]] = OrderedDict()

    def get(self, kind: str, key: Hashable, compute: Callable[[], F]) -> F:
        """The tensor `key` of `kind`, computed when it is not there (and kept when it fits).

        Raises:
            NumericsError: a computed value is too large for the type it is kept in.
        """
        self._left_over.discard(key)
        entries = self._kinds.setdefault(kind, OrderedDict())
        if key in entries:
            self.hits += 1
            entries.move_to_end(key)
            return cast(F, self._widen(entries[key]))
        if (kind, key) in self._spilled:
            self.hits += 1
            host, device = self._spilled[kind, key]
            self._spilled.move_to_end((kind, key))
            value = _each(host, lambda tensor: tensor.to(device))
        else:
            self.misses += 1
            value = self._narrow(_each(compute(), _alone))
        if _nbytes(value) <= self.max_bytes:
            self._drop_spilled(kind, key)
            self._kinds.setdefault(kind, OrderedDict())[key] = value  # looked up again: computing may clear the cache
            self.bytes += _nbytes(value)
            while self.bytes > self.max_bytes:
                self._evict(keep=value)
        return cast(F, self._widen(value))

    def knows(self, key: Hashable) -> bool:
        """Return whether something is kept of `key`, of whatever kind."""
        return any(key in entries or (kind, key) in self._spilled for kind, entries in self._kinds.items())

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Keep nothing new within the block; what is there stays and is found."""
        bound, self.max_bytes = self.max_bytes, -1
        try:
            yield
        finally:
            self.max_bytes = bound

    def expect(self, key: Hashable, place: int | None) -> None:
        """Tell when `key` will be used next, whatever is kept of it.

        Args:
            key: of a tensor of any kind.
            place: a number that is the larger the later this is; None for never, which drops it.
        """
        if place is None:
            self.forget(key)
        else:
            self._next_use[key] = place

    def forget_expectations(self) -> None:
        """Make room by last use again, until more is expected; then what is kept now and not used since goes first."""
        self._next_use.clear()
        self._left_over = {key for entries in self._kinds.values() for key in entries}

    def _evict(self, keep: Features) -> None:
        """Drop or spill one tensor, but never the one that just came."""
        leaving = [(kind, self._used_last(entries, keep)) for kind, entries in self._kinds.items()]
        candidates = [(_nbytes(self._kinds[kind][key]), kind, key) for kind, key in leaving if key is not None]
        size, kind, key = max(candidates, key=lambda candidate: candidate[0])
        value = self._kinds[kind].pop(key)
        self.bytes -= size
        if size <= self.spill_bytes:
            device = value.device if isinstance(value, Tensor) else value[0].device
            self._spilled[kind, key] = _each(value, Tensor.cpu), device
            self.spilled_bytes += size
            while self.spilled_bytes > self.spill_bytes:
                self._drop_spilled(*next(iter(self._spilled)))

    def _used_last(self, entries: OrderedDict[Hashable, Features], keep: Features) -> Hashable:
        """Return the key of the entry, other than `keep`, that should give way first; None if there is no other.

        Nothing is expected of what is in use for the first time: it stays. Nor of what is left over: it goes.
        """
        others = (key for key, value in entries.items() if value is not keep)
        if not self._next_use:
            return next(others, None)

        def place(key: Hashable) -> float:
            return math.inf if key in self._left_over else self._next_use.get(key, -1)

        return max(others, key=place, default=None)  # of equal ones the oldest

    def _drop_spilled(self, kind: str, key: Hashable) -> None:
        """Drop what is in host memory under this kind and key, if anything."""
        value, _ = self._spilled.pop((kind, key), (None, None))
        self.spilled_bytes -= 0 if value is None else _nbytes(value)

    def _narrow(self, value: Features) -> Features:
        """Return the tensors in the type they are kept in."""
        if self.dtype == torch.float32:
            return value

        def narrow(tensor: Tensor) -> Tensor:
            narrowed = tensor.to(self.dtype) if tensor.dtype == torch.float32 else tensor
            if self.dtype == torch.float16 and not torch.isfinite(narrowed).all():
                raise NumericsError(
                    f"features reach {float(tensor.abs().max()):.3g}, expected at most 65504, the largest float16; "
                    "keep them in bfloat16 or float32 (--model.backbone.cache_dtype)"
                )
            return narrowed

        return _each(value, narrow)

    def _widen(self, value: Features) -> Features:
        """Return the tensors as they were asked for."""
        if self.dtype == torch.float32:
            return value
        return _each(value, lambda tensor: tensor.float() if tensor.dtype == self.dtype else tensor)

    def forget(self, key: Hashable) -> None:
        """Drop what is kept of `key`, of every kind."""
        self._next_use.pop(key, None)
        self._left_over.discard(key)
        for kind, entries in self._kinds.items():
            value = entries.pop(key, None)
            self.bytes -= 0 if value is None else _nbytes(value)
            self._drop_spilled(kind, key)

    def forget_kind(self, kind: str) -> None:
        """Drop what is kept of this kind, of every key."""
        self.bytes -= sum(map(_nbytes, self._kinds.pop(kind, OrderedDict()).values()))
        for spilled in [key for own, key in self._spilled if own == kind]:
            self._drop_spilled(kind, spilled)

    def entry_bytes(self) -> dict[str, int]:
        """Return the size of the biggest entry of every kind that has any."""
        return {kind: max(map(_nbytes, entries.values())) for kind, entries in self._kinds.items() if entries}

    def clear(self) -> None:
        """Drop everything."""
        self._kinds.clear()
        self._spilled.clear()
        self._next_use.clear()
        self._left_over.clear()
        self.bytes = self.spilled_bytes = 0


def _alone(tensor: Tensor) -> Tensor:
    """Return the tensor, copied where the memory it lies in is larger than it is."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _nbytes(value: Features) -> int:
    return value.nbytes if isinstance(value, Tensor) else sum(tensor.nbytes for tensor in value)


def _each(value: Features, change: Callable[[Tensor], Tensor]) -> Features:
    """Apply a function to a tensor, or to each of a tuple."""
    return change(value) if isinstance(value, Tensor) else tuple(change(tensor) for tensor in value)
