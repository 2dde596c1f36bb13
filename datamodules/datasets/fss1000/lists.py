"""Which classes of FSS-1000 are for training, validation and test: the released files, or a draw of our own.

The test classes are the choice of the data set's authors and the rest was drawn at random by HSNet's, so the split
cannot be derived (fss-protocol §3.3).
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.datamodules.lists.official import DERIVED, OFFICIAL, UNVERIFIED, list_folders, missing_list
from fsbench.datamodules.lists.text_file import read_list

PARTS = ("trn", "val", "test")
SIZES = {"trn": 520, "val": 240, "test": 240}
CHECKSUMS = {
    "trn": "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
    "val": "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
    "test": "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
}
"""sha256 of the sorted names, each with a newline (fss-protocol §3.3)."""


@dataclass(frozen=True)
class Splits:
    """Class names of every part, in byte order, and where they come from."""

    trn: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    origin: str

    def numbers(self, part: str) -> range:
        """Class numbers of a part: ranks from 1, training before validation before test."""
        first = 1
        for name in PARTS:
            last = first + len(getattr(self, name))
            if name == part:
                return range(first, last)
            first = last
        raise KeyError(part)


def names_sha256(names: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def read_splits(folders: Sequence[str | Path], allow_unverified: bool = False) -> Splits | None:
    """The released splits `<folder>/fss/{trn,val,test}.txt`; None without folders.

    Raises DataError for absent or unreadable files, names that are no folder names, a class in two parts, and (unless
    `allow_unverified`) a checksum that is not the official one.
    """
    places = list_folders(folders, "fss1000", "fss")
    if not places:
        return None
    parts = {part: _names(places, part) for part in PARTS}
    whole = [name for names in parts.values() for name in names]
    if len(set(whole)) < len(whole):
        twice = next(name for name in whole if whole.count(name) > 1)
        raise DataError(f"the class {twice} is twice in the lists of {places[0] / 'fss'}; expected each class once")
    altered = [part for part in PARTS if names_sha256(parts[part]) != CHECKSUMS[part]]
    if altered and not allow_unverified:
        part = altered[0]
        raise missing_list(
            f"list {places[0] / 'fss' / part}.txt was altered: found {len(parts[part])} classes, sha256 "
            f"{names_sha256(parts[part])}; expected {SIZES[part]}, sha256 {CHECKSUMS[part]}; fetch the authors' file "
            "again, or set allow_unverified_lists to use it and have the record say so",
            "fss1000",
        )
    return Splits(**parts, origin=UNVERIFIED if altered else OFFICIAL)


def draw_splits(classes: Sequence[str]) -> Splits:
    """A split of our own of `classes`: 24 % test and 24 % validation as in the official one, at least one test class.

    The sorted names in the order of `RandomState(0).permutation` give the test, then the validation classes.
    """
    ordered = sorted(classes)
    order = np.random.RandomState(0).permutation(len(ordered))
    test = max(1, round(0.24 * len(ordered)))
    val = round(0.24 * len(ordered)) if len(ordered) > 2 else 0
    return Splits(
        test=tuple(sorted(ordered[i] for i in order[:test])),
        val=tuple(sorted(ordered[i] for i in order[test : test + val])),
        trn=tuple(sorted(ordered[i] for i in order[test + val :])),
        origin=DERIVED,
    )


def _names(places: Sequence[Path], part: str) -> tuple[str, ...]:
    paths = [place / "fss" / f"{part}.txt" for place in places]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise missing_list(f"{paths[0]} does not exist; expected the lists trn.txt, val.txt and test.txt", "fss1000")
    names = [line.strip() for line in read_list(path).splitlines() if line.strip()]
    for name in names:
        if not re.fullmatch(r"\w[\w.' +&()-]*", name):
            raise DataError(f"list {path} has the line {name[:80]!r}; expected names of folders; fetch it again")
    return tuple(sorted(names))
