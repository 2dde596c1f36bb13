"""Data sets of volumes, whose images are slices: names of slices, folds of scans, the contract (alpnet.md §1 to §3).

A scan is one volume (Z, H, W) of a person. A slice is named "<scan>/<z>", z from 0 in the order of the volume's array.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import SegmentationData

SIDE = 256
"""Rows and columns of a prepared slice; files of CT have one more, which resampling adds and no test sees (§2)."""


def slice_name(scan: str, z: int) -> str:
    """Return the image name "<scan>/<z>" of slice z of a scan.

    >>> slice_name("10", 7), scan_of("10/7"), slice_number("10/7")
    ('10/7', '10', 7)
    """
    return f"{scan}/{z}"


def scan_of(name: str) -> str:
    """Return the id of the scan that a slice named "<scan>/<z>" belongs to."""
    return name.rpartition("/")[0]


def slice_number(name: str) -> int:
    """Return the position z of a slice in its volume, from 0. Raises DataError for a name that is none of a slice."""
    number = name.rpartition("/")[2]
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise DataError(f"{name[:60]!a} is no slice of a scan, expected <scan>/<number>; correct the name")
    return int(number)


@dataclass(frozen=True)
class FoldScans:
    """Ids of the scans of a fold, by role in a test.

    Attributes:
        queries: scans whose slices are queries.
        supports: scans whose slices are supports, one scan for each shot.
        training: all other scans.
    """

    queries: tuple[str, ...]
    supports: tuple[str, ...]
    training: tuple[str, ...]


def fold_scans(
    scans: Sequence[str],
    starts: Sequence[int],
    fold: int,
    shot: int,
    support_places: Sequence[int] | None = None,
    in_list_order: bool = False,
) -> FoldScans:
    """Divide scans into queries, supports and training; by default the supports are the first scans of the next fold.

    Args:
        scans: ids in ascending order, read as a circle.
        starts: positions in `scans` where the folds begin, then the position where the last one ends.
        fold: number of the fold.
        shot: number of scans that supports come from.
        support_places: positions of the support scans in the list of the fold's scans followed by the next `shot`
            scans; None for the last `shot` positions.
        in_list_order: whether that list is in the order of `scans` rather than of the circle, so that the first scan
            leads the last fold (scan-tests.md §2).

    >>> fold_scans(["1", "2", "3", "5", "8", "10"], (0, 3, 6), fold=1, shot=1)
    FoldScans(queries=('5', '8', '10'), supports=('1',), training=('2', '3'))
    >>> fold_scans(["1", "2", "3", "5", "8", "10"], (0, 3, 6), fold=1, shot=1, in_list_order=True)
    FoldScans(queries=('1', '5', '8'), supports=('10',), training=('2', '3'))
    """
    circle = [place % len(scans) for place in range(starts[fold], starts[fold + 1] + shot)]
    own = [scans[place] for place in (sorted(circle) if in_list_order else circle)]
    places = range(-shot, 0) if support_places is None else support_places
    supports = tuple(own[place] for place in places)
    queries = tuple(scan for scan in own if scan not in supports)
    return FoldScans(queries, supports, tuple(scan for scan in scans if scan not in own))


class VolumeData(SegmentationData):
    """A data set whose images are slices of volumes, such as CT or MRI scans."""

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
        """Ids of all scans of the published data, in numeric order, also where some are absent here."""

    @abstractmethod
    def fold_scans(
        self, fold: int, shot: int, support_places: Sequence[int] | None = None, in_list_order: bool = False
    ) -> FoldScans:
        """Return the scans of a fold by role (queries, supports, training); supports come from `shot` scans.

        Args:
            fold: number of the fold.
            shot: number of scans that supports come from.
            support_places: positions of the support scans in the list of the fold's scans followed by the next `shot`
                scans; None for the last `shot` positions.
            in_list_order: whether that list is in the order of `scans` rather than of a circle.
        """

    @property
    @abstractmethod
    def training_scans(self) -> tuple[str, ...]:
        """Ids of the scans that the chosen fold trains on.

        Raises:
            SettingsError: no fold was chosen with `in_fold`.
        """

    @abstractmethod
    def whole_scans(self) -> Self:
        """Return the data set with uncut slices, each normalised by its own whole scan, CT too (scan-tests.md §3)."""

    @abstractmethod
    def superpixels(self, name: str) -> np.ndarray:
        """Return the superpixels (H, W) int32 of a slice, numbered from 1; 0 where there is none.

        Raises:
            DataError: a file cannot be read.
        """

    @abstractmethod
    def prepare_superpixels(self, names: Sequence[str]) -> None:
        """Check the superpixels of slices against their images, before loader processes start.

        If superpixels are on another voxel grid than the image, a note says how they are resampled.

        Raises:
            DataError: a file cannot be read, or its superpixels do not lie on the image.
        """

    @abstractmethod
    def superpixel_file(self, name: str) -> Path:
        """Return the path of the file with the superpixels of slice `name`."""
