"""Pixels of every class in every image of a split: counted once, kept as a small file."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fsbench.data.disk_cache import load_arrays, save_arrays

KIND = "pixels-2"
"""Kind of the cached tables, to be changed with what a label map is read as."""


@dataclass(frozen=True)
class PixelTable:
    """Table of pixel counts: for every image, rows (label, pixels, further counts) with ascending labels.

    Attributes:
        names: M image names.
        starts: (M + 1,) int64; the rows of image m are `rows[starts[m] : starts[m + 1]]`.
        rows: (P, C) int32 with C >= 2: label, number of its pixels, and further columns of the counting function.
    """

    names: tuple[str, ...]
    starts: np.ndarray
    rows: np.ndarray

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __getitem__(self, name: str) -> np.ndarray:
        row = self._rows[name]
        return self.rows[self.starts[row] : self.starts[row + 1]]

    @property
    def labels(self) -> list[int]:
        """Labels of all rows of the table; a label occurs once for each image that shows it."""
        labels: list[int] = self.rows[:, 0].tolist()
        return labels

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        """Return {label: its pixels} of image `name`, and the number of all its pixels."""
        rows = self[name]
        return dict(rows[:, :2].tolist()), int(rows[:, 1].sum())


def count_labels(labels: np.ndarray) -> np.ndarray:
    """Count the pixels of each label in a label map (H, W) uint8: rows (label, pixels) (n, 2) int32, ascending."""
    counts = np.bincount(labels.ravel(), minlength=256)
    present = counts.nonzero()[0]
    return np.stack([present, counts[present]], axis=1).astype(np.int32)


def pixel_table(
    names: Sequence[str], count: Callable[[str], np.ndarray], *, fingerprint: str, description: str
) -> PixelTable:
    """Return the table of all `names`: rows from the cache, or counted by `count(name)`.

    Args:
        names: Image names.
        count: Image name -> rows (n, C) int32 as in `PixelTable`; runs in threads.
        fingerprint: Text that changes with everything that the rows depend on (label maps, counting rule); the cache's
            key.
        description: Shown beside the progress bar.
    """
    key = hashlib.sha256("\n".join([fingerprint, *names]).encode()).hexdigest()
    saved = load_arrays(KIND, key)
    if saved is not None and saved.keys() == {"starts", "rows"} and len(saved["starts"]) == len(names) + 1:
        return PixelTable(tuple(names), **saved)
    table = _count(names, count, description)
    save_arrays(KIND, key, {"starts": table.starts, "rows": table.rows})
    return table


def _count(names: Sequence[str], count: Callable[[str], np.ndarray], description: str) -> PixelTable:
    # spared until it is needed
    from tqdm import tqdm

    workers = min(8, os.cpu_count() or 1)  # threads: decoding and painting leave the interpreter lock
    with ThreadPoolExecutor(workers) as pool:
        counted = list(tqdm(pool.map(count, names), total=len(names), desc=description, unit="image", disable=None))
    starts = np.cumsum([0, *map(len, counted)], dtype=np.int64)
    rows = np.concatenate(counted) if counted else np.zeros((0, 2), dtype=np.int32)
    return PixelTable(tuple(names), starts, rows)
