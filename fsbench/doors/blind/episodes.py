"""Episodes as bytes for another process: pixels, masks and sizes alone, under opaque names and numbers.

Pixels are those that the method would see in a run of the suite, decoded and resized here, so that nothing of a file is
left but its colours. Neither side reads a pickle.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.data.batch import EpisodeBatch, HiddenTruth, Hints

TENSORS = (
    "images", "query", "support", "support_labels", "valid", "query_sizes", "episodes", "support_ways", "ways",
    "counted_pixels",
)  # fmt: skip
"""Attributes of an `EpisodeBatch` that are tensors, or None."""


def pack_episode(batch: EpisodeBatch, number: int, opaque: Callable[[str], str]) -> bytes:
    """Return a batch of one episode as bytes, without its truth.

    Args:
        batch: on the CPU.
        number: by which the other process knows the episode.
        opaque: gives the name by which the other process knows an image.
    """
    shown = replace(batch, episodes=torch.tensor([number]))
    arrays = {name: getattr(shown, name).numpy() for name in TENSORS if getattr(shown, name) is not None}
    arrays["image_names"] = np.array([opaque(name) for name in batch.image_names])
    arrays["last_is_fastest"] = np.array(batch.images.is_contiguous())
    for hints in batch.hints or ():
        if hints.query is not None:
            arrays["hint_query"] = hints.query.numpy()
        for way, photos in enumerate(hints.supports or ()):
            arrays |= {f"hint_support_{way}_{shot}": photo.numpy() for shot, photo in enumerate(photos)}
        if hints.boxes is not None:
            arrays["hint_boxes"] = hints.boxes.numpy()
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def unpack_episode(content: bytes) -> EpisodeBatch:
    """Return the episode whose bytes `pack_episode` made; asking for its truth raises an error."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    tensors = {name: torch.from_numpy(arrays[name]) for name in TENSORS if name in arrays}
    if not arrays["last_is_fastest"]:  # kernels may round otherwise in another layout
        tensors["images"] = tensors["images"].contiguous(memory_format=torch.channels_last)
    hints = _hints(arrays, int(tensors["valid"].shape[1]), int(tensors["valid"].shape[2]))
    given: dict[str, Any] = {
        **tensors,
        "image_names": [str(name) for name in arrays["image_names"]],
        "truth": HiddenTruth(),
        "hints": None if hints is None else [hints],
    }
    return EpisodeBatch(**given)


def _hints(arrays: dict[str, np.ndarray], ways: int, shots: int) -> Hints | None:
    if not any(name.startswith("hint_") for name in arrays):
        return None

    def tensor(name: str) -> Tensor | None:
        return torch.from_numpy(arrays[name]) if name in arrays else None

    supports = None
    if "hint_query" in arrays:
        supports = [[torch.from_numpy(arrays[f"hint_support_{w}_{k}"]) for k in range(shots)] for w in range(ways)]
    return Hints(tensor("hint_query"), supports, tensor("hint_boxes"))
