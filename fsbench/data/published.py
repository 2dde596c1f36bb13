"""What is known of published data sets without their files: names, classes, and checksums of official lists."""

import csv
from collections.abc import Iterable
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
    """Return {(split, fold): checksums} of a data set's official (image, class) lists; {} without such.

    PASCAL's "trn" lists hold their own fold's classes.
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
    """An image list that authors released.

    Attributes:
        file: path below the folder of lists: `<group>/<inner>`, where the group names the release, such as "hsnet".
        source: its address below `raw.githubusercontent.com`: owner, repository, commit, path; "" if none is known.
    """

    file: str
    source: str
    sha256: str

    @property
    def group(self) -> str:
        return self.file.partition("/")[0]

    @property
    def inner(self) -> str:
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
    """Return the authors' list files of a data set, in order; () without such."""
    if not (CHECKSUMS / f"{dataset}.list_files.csv").is_file():
        return ()
    return tuple(ListFile(**row) for row in read_table(f"{dataset}.list_files"))


def read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table `<name>.csv` beside the data sets."""
    with (CHECKSUMS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def class_names(dataset: str) -> tuple[str, ...]:
    """Return the names of a data set's classes by their numbers."""
    return tuple(row["name"] for row in read_table(f"{dataset}.classes"))


def class_pairs(dataset: str) -> dict[str, tuple[int, ...]]:
    """Return {split: number of pairs of class 1, 2, … in the official lists of all folds}."""
    rows = read_table(f"{dataset}.classes")
    return {split: tuple(int(row[split]) for row in rows) for split in ("trn", "val")}


def own_name_fault(name: str, others: Iterable[str] = ()) -> str:
    """Return why a user's data set cannot have a name, in words; "" if it can.

    Names of published data sets, of installed plug-ins' too, and `others` are taken.

    >>> own_name_fault("my shapes"), own_name_fault("../x"), own_name_fault("Pascal")
    ('', 'is a path', 'is the name of the published data set pascal')
    """
    known = {*(file.partition(".")[0] for file in named_files("data", CONFIGS)), *named_objects("data"), *VARIANTS}
    taken = {composed(one).casefold(): one for one in (*known.difference(OWN), *others)}
    if found := taken.get(composed(name).casefold()):
        return f"is the name of the published data set {found}"
    if "/" in name or "\\" in name or name.strip(". ") == "":
        return "is a path"
    if "·" in name:
        return "has a ·, which parts the words of a title"
    return "" if name.isprintable() and name == name.strip() else "has characters that do not print, or spaces around"
