"""Weights and inputs that goldens give by a formula instead of storing them."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor


def hash_values(tag: int, shape: Iterable[int], low: float, high: float) -> Tensor:
    """Uniform values of an integer hash of the flat index (`hash_weights` of the DCAMA goldens)."""
    return (low + (high - low) * hash_units(tag, shape)).float()


def hash_units(tag: int, shape: Iterable[int]) -> Tensor:
    """The hash of `hash_values` from 0 to below 1, in float64 and not rounded."""
    shape = tuple(shape)
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(tag * 0x9E3779B9 % 2**32)) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h ^= h >> np.uint64(shift)
        h = (h * np.uint64(factor)) & mask
    return torch.from_numpy(h.astype(np.float64) / 2**32).view(shape)


def hash_state(shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """Weights by name: the name's hash is the tag, its form and the shape say the range."""
    state = {}
    for key, shape in shapes.items():
        shape = tuple(shape)
        state[key] = hash_values(tag_of(key), shape, *_range(key, shape))
    return state


def tag_of(key: str) -> int:
    """Tag of a name."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)


def _range(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    if key.endswith("running_var"):
        return 0.5, 1.5
    if key.endswith("running_mean"):
        return -0.2, 0.2
    if len(shape) >= 2:
        bound = (3 / np.prod(shape[1:])) ** 0.5
        return -bound, bound
    return (-0.1, 0.1) if key.endswith("bias") else (0.5, 1.5)


def value(count: int, stream: int, scale: float) -> Tensor:
    """`value(i, stream, scale)` for i = 0..count-1 (the hash of the FORT and classical goldens)."""
    mask = np.uint64(0xFFFFFFFF)
    x = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(stream * 2246822519 % 2**32)) & mask
    for shift, factor in ((15, 2246822519), (13, 3266489917), (16, 1)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & mask
    return torch.from_numpy(((x.astype(np.float64) / 2**32 - 0.5) * 2 * scale).astype(np.float32))


def hashed(key: str, shape: Iterable[int], salt: str = "") -> Tensor:
    """Numbers in [-1, 1] by an integer hash of the flat index and of the key behind the salt, float64."""
    shape = tuple(shape)
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) * 0x9E3779B1 + zlib.crc32((salt + key).encode())
    x &= 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x ^= x >> np.uint64(shift)
        x = x * factor & 0xFFFFFFFF
    return torch.from_numpy(x / 2**31 - 1).reshape(shape)
