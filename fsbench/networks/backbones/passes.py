"""Encodings of the last images by a frozen network, for methods that are tested together.

They see the same images one after the other. The first lets the network encode an image, the others get a copy.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Pass:
    """One image's way through a network.

    Attributes:
        kind: name of the question that was asked of the network.
        pixels: the image.
        features: the network's answer.
        seconds: time that it took.
    """

    kind: Hashable
    pixels: Tensor
    features: Any
    seconds: float

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + sum(tensor.nbytes for tensor in _tensors(self.features))


class Passes:
    """Cache of a network's recent encodings, looked up by the image's pixels.

    Every lookup returns a copy, which the caller may change.

    Args:
        max_bytes: largest size of the images and features that are kept, in bytes; the oldest are dropped, but never
            the newest.

    Attributes:
        spared: seconds of computation saved by encodings that were found in the cache.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.spared = 0.0
        self._passes: deque[_Pass] = deque()

    def get(self, kind: Hashable, pixels: Tensor, encode: Callable[[], Any]) -> Any:
        """Return the encoding of an image from the cache, or computed by `encode` if it is not there.

        Args:
            kind: key of the computation that makes the encoding; equal keys must mean equal computations.
            pixels: the image, (3, H, W).
            encode: function that computes the encoding.
        """
        for known in reversed(self._passes):  # methods take turns: the last image is the likeliest
            if known.kind == kind and _are_equal(known.pixels, pixels):
                self.spared += known.seconds
                return _copied(known.features)
        started = _now(pixels)
        features = encode()
        made = _Pass(kind, pixels, _copied(features), _now(pixels) - started)
        self._passes.append(made)
        while len(self._passes) > 1 and sum(each.nbytes for each in self._passes) > self.max_bytes:
            self._passes.popleft()
        return features

    def forget(self) -> None:
        """Drop all cached images and encodings."""
        self._passes.clear()


def _now(pixels: Tensor) -> float:
    """Return the time when the device of an image has done what it was asked to."""
    if pixels.is_cuda:
        torch.cuda.synchronize(pixels.device)
    return time.perf_counter()


def _are_equal(one: Tensor, other: Tensor) -> bool:
    same_kind = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    return same_kind and torch.equal(one, other)


def _copied(features: Any) -> Any:
    """Copy a tensor, or every tensor of a tuple, named or not, and of tuples in it."""
    if features is None:
        return None
    if isinstance(features, Tensor):
        with torch.inference_mode(False):  # a method may train with them
            return features.clone()
    copies = [_copied(one) for one in features]
    return type(features)(*copies) if hasattr(features, "_fields") else tuple(copies)


def _tensors(features: Any) -> list[Tensor]:
    if features is None or isinstance(features, Tensor):
        return [] if features is None else [features]
    return [tensor for one in features for tensor in _tensors(one)]
