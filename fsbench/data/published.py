"""What is known of published data sets without their files: names, classes, and checksums of official lists."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fsbench.base.files.names import composed
from fsbench.base.paths import CONFIGS
from fsbench.base.plugins import named_files, named_objects

CHECKSUMS = Path(__file__).parents[1] / "datamodules/datasets"
"""Folder of the data sets: beside `<name>.py` with the class is `<name>.official.csv` where lists are official."""
BROWSED = {"hmnet": "https://github.com/Sam1224/HMNet, commit 556916cc2036f32d68d8e0b810eb9ebcbee6ae1a, by hand"}
"""Released lists without an address, whose authors link to them: the page and its commit."""
OWN = ("demo", "demo-cls", "folder", "imagefolder")
"""Data sets of the suite that nobody published."""
VARIANTS = ("pascal_all", "isaid512_stride")
"""Published data sets that have no configuration of their own."""


@dataclass(frozen=True)
class Checksum:
    """Size and sha256 (of sorted and of ordered pairs) of one official list of (image, class) pairs."""

    pairs: int
    images: int
    sha256_sorted: str
    sha256_ordered: str


@cache
def checksums(dataset: str) -> dict[tuple[str, int], Checksum]:
    """Return {(split, fold): checksums} of a data set's official (image, class) lists, from its `official.csv`.

    The dict is empty for a data set without official lists. PASCAL's "trn" lists hold their own fold's classes.
    """
    if not (CHECKSUMS / f"{dataset}.official.csv").is_file():
        return {}
    return {
        (row["split"], int(row["fold"])): Checksum(
            int(row["pairs"]), int(row["images"]), row["sha256_sorted"], row["sha256_ordered"]
        )
        for row in read_table(f"{dataset}.official")
    }


@dataclass(frozen=True)
class ListFile:
    """An image list that authors released: its path, address and checksum.

    Attributes:
        file: path of the list below the folder of lists: `<group>/<dataset>/…`, where the group names the release.
        source: its address below `raw.githubusercontent.com`: owner, repository, commit, path; "" if none is known.
        sha256: checksum of the list's content.
    """

    file: str
    source: str
    sha256: str

    @property
    def group(self) -> str:
        """First folder of the list's path, which names the release, such as "hsnet"."""
        return self.file.partition("/")[0]

    @property
    def inner(self) -> str:
        """Path of the list within its release."""
        return self.file.partition("/")[2]

    @property
    def release(self) -> str:
        """Page and commit of the authors' repository, where a browser finds the list."""
        if not self.source:
            return BROWSED[self.group]
        owner, name, commit, *_ = self.source.split("/")
        return f"https://github.com/{owner}/{name}, commit {commit}"


@cache
def list_files(dataset: str) -> tuple[ListFile, ...]:
    """Return the authors' list files of a data set, in order, from its `<dataset>.list_files.csv`; () without one."""
    if not (CHECKSUMS / f"{dataset}.list_files.csv").is_file():
        return ()
    return tuple(ListFile(**row) for row in read_table(f"{dataset}.list_files"))


def read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table `<name>.csv` beside the data sets."""
    with (CHECKSUMS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def class_names(dataset: str) -> tuple[str, ...]:
    """Return the names of a data set's classes by their numbers, from its `<dataset>.classes.csv`."""
    return tuple(row["name"] for row in read_table(f"{dataset}.classes"))


def class_pairs(dataset: str) -> dict[str, tuple[int, ...]]:
    """Return {split: number of pairs of class 1, 2, … in the official lists of all folds}, from the same table."""
    rows = read_table(f"{dataset}.classes")
    return {split: tuple(int(row[split]) for row in rows) for split in ("trn", "val")}


def published_names() -> set[str]:
    """Return the names of all published data sets that fsbench and installed plug-ins know."""
    files = {name.partition(".")[0] for name in named_files("data", CONFIGS)}
    return {*files, *named_objects("data"), *VARIANTS}.difference(OWN)


def name_fault(name: str) -> str:
    """Return why a text cannot be a data set's name (a path, or unprintable characters), in words; "" if it can.

    >>> name_fault("my shapes"), name_fault("../x")
    ('', 'is a path')
    """
    if "/" in name or "\\" in name or name.strip(". ") == "":
        return "is a path"
    if "·" in name:
        return "has a ·, which parts the words of a title"
    return "" if name.isprintable() and name == name.strip() else "has characters that do not print, or spaces around"


def own_name_fault(name: str, others: Sequence[str] = ()) -> str:
    """Return why a user's data set cannot have a name (unprintable, or taken), in words; "" if it can.

    Args:
        name: the chosen name.
        others: names that are taken besides those of published data sets.
    """
    taken = {composed(one).casefold(): one for one in (*published_names(), *others)}
    found = taken.get(composed(name).casefold())
    return name_fault(name) if found is None else f"is the name of the published data set {found}"
