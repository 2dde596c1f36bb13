"""Memory of a thread that is used again for the next image.

Fresh memory costs as much as a step of loading: the system clears every page of it.
"""

import math
import threading

import numpy as np
import numpy.typing as npt


class Scratch(threading.local):
    """Reusable arrays of a thread: a new array with a name overwrites the previous one with that name."""

    LARGEST = 1 << 25
    """Bytes of an array that is kept, 32 MiB, for as long as its thread lives; a larger one has fresh memory."""

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
        """Return an array of `shape`, with unspecified values, for this name."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > self.LARGEST:
            return np.empty(shape, dtype)
        kept = self.kept.get(name)
        if kept is None or kept.size < size:
            kept = self.kept[name] = np.empty(size, np.uint8)
        return kept[:size].view(dtype).reshape(shape)
