"""What is known of published data sets without their files: folds, classes, checksums of official lists.

A header or a description that names one is held against it: a name alone makes no published data set.
"""

import csv
from collections.abc import Mapping, Sequence
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
    if (
        dataset not in PUBLISHED or not (CHECKSUMS / f"{dataset}.official.csv").is_file()
    ):  # the name may be a stranger's
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


@dataclass(frozen=True)
class Published:
    """What is known about a published segmentation data set without its files.

    Attributes:
        name: the name of the data set.
        folds: the number of folds; None if it depends on settings.
        novel: numbers of the novel classes of each fold; () if only the data set's files tell.
        has_lists: whether official image lists exist, which authors published or which follow from the annotations.
        has_void: whether pixels may have no true class; if not, a rule for void pixels changes nothing.
    """

    name: str
    folds: int | None
    novel: Sequence[Sequence[int]] = ()
    has_lists: bool = True
    has_void: bool = False

    def test_classes(self, fold: int) -> list[int]:
        """Return the numbers of the novel classes of `fold`, ascending."""
        return list(self.novel[fold])

    def val_classes(self, fold: int) -> list[int]:
        """Return the numbers of classes reserved for choosing a checkpoint: [], as most data sets have none."""
        return []

    def train_classes(self, fold: int) -> list[int]:
        """Return the numbers of the base classes of `fold`, ascending: those of the other folds."""
        return sorted(number for other, own in enumerate(self.novel) if other != fold for number in own)


def _blocks(folds: int, size: int) -> list[range]:
    return [range(1 + size * fold, 1 + size * (fold + 1)) for fold in range(folds)]


def _in_turn(folds: int, classes: int) -> list[range]:
    return [range(fold + 1, classes + 1, folds) for fold in range(folds)]


PUBLISHED: Mapping[str, Published] = {
    one.name: one
    for one in (
        Published("pascal", 4, _blocks(4, 5), has_void=True),
        Published("pascal10i", 2, _blocks(2, 10), has_void=True),
        Published("pascal_all", 1, _blocks(1, 20), has_void=True),
        Published("coco", 4, _in_turn(4, 80)),
        Published("coco_all", 1, _blocks(1, 80)),
        Published("isaid", 3, _blocks(3, 5), has_void=True),
        Published("isaid512", 3, _blocks(3, 5), has_lists=False, has_void=True),
        Published("isaid512_stride", 3, _in_turn(3, 15), has_lists=False, has_void=True),
        Published("deepglobe", 1, _blocks(1, 6), has_lists=False),
        Published("deepglobe_all", 1, _blocks(1, 6), has_lists=False),
        Published("isic", 1, _blocks(1, 3), has_lists=False),
        Published("isic_one", 1, _blocks(1, 1), has_lists=False),
        Published("lung", 1, _blocks(1, 1), has_lists=False),
        Published("lung_all", 1, _blocks(1, 1), has_lists=False),
        Published("suim", 1, _blocks(1, 7), has_lists=False),
        Published("isic_folds", 5),
        Published("isic_listed", 1, _blocks(1, 3), has_lists=False),
        Published("kvasir", 1, _blocks(1, 1), has_lists=False),
        Published("lungcancer", 1, _blocks(1, 1), has_lists=False),
        Published("nucleus", 1, _blocks(1, 1), has_lists=False),
        Published("pothole", 1, _blocks(1, 1), has_lists=False),
        Published("weedmap", 1, _blocks(1, 2), has_lists=False),
        Published("industrial", 4, _in_turn(4, 20), has_lists=False),
        Published("fss1000", 1),
        Published("lvis", 10),
        Published("paco_part", 4),
        Published("pascal_part", 4),
        Published("chaost2", None),
        Published("sabs", None),
        Published("cmr", None),
    )
}
"""Data sets of masks by their names. Of those of classification nothing but the name is known without files."""


def published_names() -> set[str]:
    """Return the names of all published data sets that fsbench and installed plug-ins know."""
    files = {name.partition(".")[0] for name in named_files("data", CONFIGS)}
    return (PUBLISHED.keys() | files | named_objects("data").keys()).difference(OWN)


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
