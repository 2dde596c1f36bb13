"""A bounded memory of frozen features, for images that come again in other episodes."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from fsbench.base.errors import ContractError, NumericsError
from fsbench.base.handed_out import Seal, tensors_of
from fsbench.base.precision import CacheDtype

Features = Any
"""Value that is kept of an image: a tensor, or tuples, lists, dicts or dataclasses of tensors, numbers, texts, None."""
F = TypeVar("F")


class Kept(NamedTuple):
    """Cached tensors of a key, and the `Seal` by which in-place writes to them are detected."""

    value: Features
    seal: Seal


class FeatureCache:
    """Cache of tensors, or containers of tensors, by kind and key, of at most `max_bytes`; `bytes` is the present size.

    A key names what the tensors follow from: the image by its contents, or a tuple that begins with the image, where
    more is needed. What is expected of the image holds for all of its entries.

    Cached tensors are handed out without copying, and must not be written to. A tensor that is a view of a larger one
    is copied before it is kept, since it would keep the memory of the whole tensor.

    When the cache is full, an entry of the kind with the biggest tensors is dropped: first an entry that was kept
    before `forget_expectations` and not used since, then the entry that `expect` says is used last. Without any
    `expect`, the entry used longest ago is dropped.

    Args:
        max_bytes: bound on the size of all kept tensors.
        dtype: type in which float32 tensors are kept. A narrower type rounds every tensor that `get` returns, even one
            that is not kept, so that values do not depend on how often they were requested.
    """

    def __init__(self, max_bytes: int, dtype: CacheDtype = "float32"):
        self.max_bytes = max_bytes
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self._kinds: dict[str, OrderedDict[Hashable, Kept]] = {}
        self._handed: dict[tuple[str, Hashable], Seal] | None = None
        self._next_use: dict[Hashable, float] = {}

    def get(self, kind: str, key: Hashable, compute: Callable[[], F], is_derived: bool = False) -> F:
        """Return the tensors of a kind and key from the cache, or else compute them, and keep them if they fit.

        Args:
            kind: kind of the tensors, such as "features".
            key: key of the image, or a tuple that begins with it.
            compute: function that computes the tensors.
            is_derived: whether `compute` itself gets tensors from the cache, from which these follow. They keep their
                type, whatever the cache's `dtype`, and count as a hit if they are found; else only the tensors that
                they are computed from are counted, as hits or misses.

        Raises:
            NumericsError: a computed value is too large for the type in which it is kept.
            ContractError: the cached tensors were written to, or a computed value is none of `Features`.
        """
        image = _image(key)
        if self._next_use.get(image) == math.inf:
            del self._next_use[image]
        entries = self._kinds.get(kind, OrderedDict())
        if key in entries:
            self.hits += 1
            entries.move_to_end(key)
            value, seal = entries[key]
            seal.check("a method", f"the kept {kind}")
            if self._handed is not None:
                self._handed[kind, key] = seal
            return cast(F, value if is_derived else self._widen(value))
        self.misses += not is_derived
        value = _each(compute(), _alone)
        value = value if is_derived else self._narrow(value)
        if _nbytes(value) <= self.max_bytes:
            kept = Kept(value, Seal(value))
            self._kinds.setdefault(kind, OrderedDict())[key] = kept  # looked up again: computing may keep others
            if self._handed is not None:
                self._handed[kind, key] = kept.seal
            self.bytes += _nbytes(value)
            while self.bytes > self.max_bytes:
                self._evict(keep=value)
        return cast(F, value if is_derived else self._widen(value))

    @contextmanager
    def unchanged(self, call: str) -> Iterator[None]:
        """Within the block, tensors that the cache hands out must not be written to.

        Args:
            call: the function that runs in the block, for messages.

        Raises:
            ContractError: a tensor was written to.
        """
        outer, self._handed = self._handed, {}
        try:
            yield
            for (kind, _), seal in self._handed.items():
                seal.check(call, f"the kept {kind}")
        finally:
            self._handed = outer

    def forget_counts(self) -> None:
        """Set the counts of hits and misses to 0."""
        self.hits = self.misses = 0

    def knows(self, key: Hashable) -> bool:
        """Return whether the cache has tensors of `key`, of any kind."""
        return any(key in entries for entries in self._kinds.values())

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Within the block, keep no new tensors; those in the cache stay and are found."""
        bound, self.max_bytes = self.max_bytes, -1
        try:
            yield
        finally:
            self.max_bytes = bound

    def expect(self, image: Hashable, place: int | None) -> None:
        """State when tensors of an image will be used next, so that a full cache drops those that are used last.

        Args:
            image: key of the image.
            place: a number that is larger the later the use is; None for never, which drops the tensors.
        """
        if place is None:
            self.forget(image)
        else:
            self._next_use[image] = place

    def forget(self, image: Hashable) -> None:
        """Drop the tensors of an image, of every kind."""
        self._next_use.pop(image, None)
        for entries in self._kinds.values():
            for key in [key for key in entries if _image(key) == image]:
                self.bytes -= _nbytes(entries.pop(key).value)

    def forget_expectations(self) -> None:
        """Drop what was stated about next uses; tensors that are not used from now on are the first to make room."""
        self._next_use = {_image(key): math.inf for entries in self._kinds.values() for key in entries}

    def _evict(self, keep: Features) -> None:
        """Drop one tensor, but never the one that just came.

        Nothing is expected of what is in use for the first time: it goes last. Of equal ones goes the oldest.
        """
        leaving = []
        for entries in self._kinds.values():
            others = [key for key, kept in entries.items() if kept.value is not keep]
            if others:
                key = max(others, key=lambda key: self._next_use.get(_image(key), -1))
                leaving.append((entries, key, _nbytes(entries[key].value)))
        entries, key, size = max(leaving, key=lambda one: one[2])
        del entries[key]
        self.bytes -= size

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

    def forget_kind(self, kind: str) -> None:
        """Drop all tensors of this kind."""
        self.bytes -= sum(_nbytes(kept.value) for kept in self._kinds.pop(kind, OrderedDict()).values())

    def entry_bytes(self) -> dict[str, int]:
        """Return {kind: bytes of its biggest entry} for every kind with an entry."""
        return {kind: max(_nbytes(kept.value) for kept in own.values()) for kind, own in self._kinds.items() if own}

    def clear(self) -> None:
        """Drop all tensors and everything stated about next uses."""
        self._kinds.clear()
        self._next_use.clear()
        self.bytes = 0


def digest(values: Tensor) -> str:
    """Return the sha256 (hexadecimal) of the bytes of a tensor."""
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().data).hexdigest()


def _alone(tensor: Tensor) -> Tensor:
    """Return the tensor, copied where the memory it lies in is larger than it is."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _image(key: Hashable) -> Hashable:
    """Return the image with which a key begins."""
    return key[0] if isinstance(key, tuple) else key


def _nbytes(value: Features) -> int:
    return sum(tensor.nbytes for _, tensor in tensors_of(value))


def _each(value: Features, change: Callable[[Tensor], Tensor]) -> Features:
    """Return a value with a function applied to each of its tensors.

    Raises:
        ContractError: the value, or a part of it, is neither a tensor nor a container, number, text or None.
    """
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return replace(value, **_each(own, change))
    if isinstance(value, dict):
        return {key: _each(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_each(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if value is None or isinstance(value, (int, float, str)):
        return value
    raise ContractError(
        f"a method has the cache keep a value of type {type(value).__name__}; expected a tensor, or tuples, lists, "
        "dicts or dataclasses of tensors, numbers, texts and None"
    )
