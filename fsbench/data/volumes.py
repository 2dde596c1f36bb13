"""Data sets of volumes, whose images are slices: names of slices, folds of scans, the contract (alpnet.md §1 to §3).

A scan is one volume (Z, H, W) of a person. A slice is named "<scan>/<z>", z from 0 in the order of the volume's array.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsbench.data.dataset import SegmentationData

SIDE = 256
"""Rows and columns of a prepared slice; files of CT have one more, which resampling adds and no test sees (§2)."""


def slice_name(scan: str, z: int) -> str:
    """Return the name of a slice.

    >>> slice_name("10", 7), scan_of("10/7"), slice_number("10/7")
    ('10/7', '10', 7)
    """
    return f"{scan}/{z}"


def is_slice(name: str) -> bool:
    """Return whether a name is one of a slice."""
    return re.fullmatch(r"[0-9]+/[0-9]+", name) is not None


def scan_of(name: str) -> str:
    """Return the scan of a slice."""
    return name.rpartition("/")[0]


def slice_number(name: str) -> int:
    """Return the position z of a slice in its volume, from 0."""
    return int(name.rpartition("/")[2])


@dataclass(frozen=True)
class FoldScans:
    """The scans of a fold: queries, supports, and training.

    Attributes:
        queries: whose slices are queries.
        supports: whose slices are supports, one scan for each shot.
        training: all others.
    """

    queries: tuple[str, ...]
    supports: tuple[str, ...]
    training: tuple[str, ...]


def fold_scans(
    scans: Sequence[str], starts: Sequence[int], fold: int, shot: int, support_places: Sequence[int] | None = None
) -> FoldScans:
    """Divide scans as the authors' program does (§3.1): the supports are the first scans of the next fold.

    Args:
        scans: ids in ascending order, read as a circle.
        starts: places where the folds begin, and behind them where the last one ends.
        fold: number of the fold.
        shot: scans that supports come from.
        support_places: places of these among the scans of fold and supports; None for the last ones.

    >>> fold_scans(["1", "2", "3", "5", "8", "10"], (0, 3, 6), fold=1, shot=1)
    FoldScans(queries=('5', '8', '10'), supports=('1',), training=('2', '3'))
    """
    own = [scans[place % len(scans)] for place in range(starts[fold], starts[fold + 1] + shot)]
    places = range(-shot, 0) if support_places is None else support_places
    supports = tuple(own[place] for place in places)
    queries = tuple(scan for scan in own if scan not in supports)
    return FoldScans(queries, supports, tuple(scan for scan in scans if scan not in own))


class VolumeData(SegmentationData):
    """A data set whose images are slices of volumes."""

    images_are_files = False

    @property
    @abstractmethod
    def scans(self) -> tuple[str, ...]:
        """Ids of all scans, in numeric order."""

    @property
    @abstractmethod
    def class_slices(self) -> Mapping[int, Mapping[str, Sequence[int]]]:
        """{class number: {scan: positions z of the slices that show it, ascending}}."""

    @abstractmethod
    def slices(self, scan: str) -> Sequence[str]:
        """Return the names of a scan's slices, in order."""

    @property
    @abstractmethod
    def published_scans(self) -> tuple[str, ...]:
        """Ids of the scans of the complete data, in numeric order."""

    @abstractmethod
    def fold_scans(self, fold: int, shot: int, support_places: Sequence[int] | None = None) -> FoldScans:
        """Return the scans of a fold; its supports are slices of `shot` scans."""

    @abstractmethod
    def superpixels(self, name: str) -> np.ndarray:
        """Return the superpixels (H, W) int32 of a slice, numbered from 1; 0 is outside all (§6.1).

        Raises DataError for a file that cannot be read.
        """

    @abstractmethod
    def prepare_superpixels(self, names: Sequence[str]) -> None:
        """Check the superpixels of slices against their images, before loader processes start.

        How they come onto the images' voxels, where these are others, is told in a note. Raises DataError for a file
        that cannot be read or lies elsewhere.
        """

    @abstractmethod
    def superpixel_file(self, name: str) -> Path:
        """Return the file with a slice's superpixels."""
