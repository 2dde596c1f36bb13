"""Store the features of a data set's images on disk, so that each is encoded once for all runs and processes.

One file holds (images, D) float32 numbers, mapped into memory; another a checksum of every row. Any number of processes
fill it at the same time, in any order: all of them write the same numbers for an image, and a row counts only when its
checksum fits, so that half-written and damaged rows are encoded again. Where the folder cannot be written to, or the
cache may not grow so large, features are kept in memory, which costs time only.
"""

import os
import zlib
from pathlib import Path

import numpy as np

from fsbench.base.files.cache import mark_used, trim_cache
from fsbench.base.paths import cache_size


class FeatureStore:
    """Cache of one feature vector per image of a data set, (images, width) float32, on disk or in memory.

    Args:
        path: path of the cache's files without suffix, whose name must depend on everything that changes features; None
            keeps the features in memory.
        images: number of images in the data set.
        width: size D of a feature.
    """

    def __init__(self, path: Path | None, images: int, width: int):
        self.values, self.checksums = _open_arrays(path, images, width)
        self._sound = np.zeros(images, dtype=bool)

    def has(self, image: int) -> bool:
        """Return whether the feature of image number `image` is stored and intact."""
        if not self._sound[image] and self.checksums[image]:
            self._sound[image] = self.checksums[image] == _checksum(self.values[image])
        return bool(self._sound[image])

    def put(self, image: int, feature: np.ndarray) -> None:
        """Store the feature (width,) of image number `image`."""
        self.values[image] = feature
        self.checksums[image] = _checksum(self.values[image])
        self._sound[image] = True

    def rows(self, images: np.ndarray) -> np.ndarray:
        """Return the features (len(images), width) of images that are stored."""
        return np.asarray(self.values[images])


def _checksum(row: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(row).tobytes()) or 1  # 0 marks a row without a feature


def _open_arrays(path: Path | None, images: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return arrays of features and checksums: mapped files where `path` can be written to and the cache has room."""
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "f32": ((images, width), np.float32),
        "crc": ((images,), np.uint32),
    }
    size = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in shapes.values())
    if path is not None and size <= cache_size():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files = {end: path.with_name(f"{path.name}.{end}") for end in shapes}
            is_new = not all(file.is_file() for file in files.values())
            values, checksums = (_file(files[end], *what) for end, what in shapes.items())
            mark_used(*files.values())
            if is_new:
                trim_cache()
            return values, checksums
        except OSError:
            pass
    values, checksums = (np.zeros(*what) for what in shapes.values())
    return values, checksums


def _file(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray:
    """Map the file `path` into memory; a new one is full of zeros."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    with path.open("ab") as file:  # whoever comes first creates it; checksums tell which rows are filled
        if hasattr(os, "posix_fallocate"):  # a write to a mapped hole of a full disk would kill the process
            os.posix_fallocate(file.fileno(), 0, size)
        elif path.stat().st_size < size:
            file.truncate(size)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)
