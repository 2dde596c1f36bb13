"""Features of a data set's images on disk: each is encoded once, whatever the number of runs, episodes and processes.

A file holds (images, D) float32 numbers, mapped into memory; another a checksum of every row. Any number of processes
fill it at the same time, in any order: what is written for an image is the same whoever writes it, and a row counts
only when its checksum fits, so half-written and damaged ones are encoded again. Folders that cannot be written to cost
time only: the features then live in memory.
"""

import os
import zlib
from pathlib import Path

import numpy as np


class FeatureStore:
    """Features (images, width).

    Args:
        path: of the file, without suffix; its name says what the features are of. None keeps them in memory.
    """

    def __init__(self, path: Path | None, images: int, width: int):
        self.values, self.checksums = _mapped(path, images, width)
        self._sound = np.zeros(images, dtype=bool)

    def has(self, image: int) -> bool:
        """Whether the feature of `image` is there and undamaged."""
        if not self._sound[image] and self.checksums[image]:
            self._sound[image] = self.checksums[image] == _checksum(self.values[image])
        return bool(self._sound[image])

    def put(self, image: int, feature: np.ndarray) -> None:
        self.values[image] = feature
        self.checksums[image] = _checksum(self.values[image])
        self._sound[image] = True

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Features (len(images), width) of images that are there."""
        return np.asarray(self.values[images])


def _checksum(row: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(row).tobytes()) or 1  # 0 stands for none


def _mapped(path: Path | None, images: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "f32": ((images, width), np.float32),
        "crc": ((images,), np.uint32),
    }
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            values, checksums = (_file(path.with_name(f"{path.name}.{end}"), *what) for end, what in shapes.items())
            return values, checksums
        except OSError:
            pass
    values, checksums = (np.zeros(*what) for what in shapes.values())
    return values, checksums


def _file(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    """A mapped file, of zeros where there was none."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    with path.open("ab") as file:  # the name is there once; what it holds, checksums say
        if hasattr(os, "posix_fallocate"):  # a write to a mapped hole of a full disk would kill the process
            os.posix_fallocate(file.fileno(), 0, size)
        elif path.stat().st_size < size:
            file.truncate(size)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)
