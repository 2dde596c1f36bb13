"""The image lists that published results use, as their authors released them, checked against known checksums.

Text files (PASCAL) hold lines `<name>__<class>`, pickles (COCO) {class - 1: [names]}; `pfenet_lists` reads the lists of
PFENet-like programs. The order of a list decides the episodes. Formats and checksums: fscs-protocol §2. The checksums
of a data set are in its `official.csv` (`fsbench.data.published`); its `source` says where the lists are to be had.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes
from fsbench.data.dataset import Pair, PairList, pairs_sha256
from fsbench.data.published import checksums
from fsbench.data.source import Source
from fsbench.datamodules.lists.plain_pickle import parse_plain_pickle
from fsbench.datamodules.lists.text_file import read_list

OFFICIAL = "official"
"""The list has the official checksum, whether it was read from the authors' file or derived."""
UNVERIFIED = "official, unverified"
REORDERED = "derived, official set in another order"
DERIVED = "derived"

LIST_FILES = ("*/test.txt", "*/*/fold*", "*/*/data_list_*", "*/*/*/fold*", "*/*/*/data_list_*")
"""Folder of the lists in the authors' repositories, below folders with the names of data sets."""


def missing_list(problem: str, dataset: str) -> DataError:
    """Return the error about a missing official list of a data set, with where to get it."""
    return Source(dataset=dataset, lists=dataset).missing_lists(problem)


def default_lists(lists: Sequence[str] | None, *roots: Path) -> list[str]:
    """Return the folders `lists`; if they are None, the first folder named `lists` in one of `roots`, or []."""
    if lists is not None:
        return list(lists)
    return [str(root / "lists") for root in dict.fromkeys(roots) if (root / "lists").is_dir()][:1]


def list_folders(folders: Sequence[str | Path], dataset: str, subfolder: str | None = None) -> list[Path]:
    """Return the folders that hold lists of a data set, looking in `folders` and one level below them.

    Args:
        folders: folders as the user gave them; one may also hold the lists of several authors in `hsnet`, `hmnet`, ….
        dataset: name of the data set.
        subfolder: name of the folder in which the authors keep the data set's lists; `dataset` unless given.

    Raises:
        DataError: a folder has no lists of any data set, or none has lists of `dataset`.
    """
    subfolder = subfolder or dataset
    found: list[Path] = []
    for folder in (Path(entry).expanduser() for entry in folders):
        inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        places = [path for path in (folder, *inner) if (path / subfolder).is_dir() or _has_lists(path)]
        if not places:
            raise missing_list(
                f"no lists for {dataset} in {folder}; expected the folder {folder / subfolder} with the authors' files",
                dataset,
            )
        found += [path for path in places if (path / subfolder).is_dir()]
    if folders and not found:
        raise missing_list(
            f"no lists for {dataset} in {', '.join(map(str, folders))}; expected a folder {subfolder} there", dataset
        )
    return found


def _has_lists(folder: Path) -> bool:
    """Whether a folder has lists of any data set."""
    return any(any(folder.glob(names)) for names in LIST_FILES)


def read_official(
    folders: Sequence[str | Path], dataset: str, split: str, fold: int, allow_unverified: bool = False
) -> PairList | None:
    """Return the official (image, class) list of a split and fold; None if no folder has it.

    Files are looked for as `<folder>/<dataset>/<split>/fold<f>.txt` or `.pkl`, and under `<dataset>/custom/<split>`,
    where the authors of the size-restricted splits keep their lists. The first folder that has the file is used.

    Args:
        folders: folders of lists, as the user gave them.
        dataset: name of the data set.
        split: name of the split.
        fold: the fold.
        allow_unverified: accept a file whose checksum is not the official one.

    Raises:
        DataError: a folder has no lists, a split lacks this fold, a file cannot be read, or (unless `allow_unverified`)
            its checksum is not the official one.
    """
    incomplete = None
    for folder in list_folders(folders, dataset):
        for parent in (folder / dataset / split, folder / dataset / "custom" / split):
            for path in (parent / f"fold{fold}.txt", parent / f"fold{fold}.pkl"):
                if path.is_file():
                    pairs = _read_text(path) if path.suffix == ".txt" else _read_pickle(path)
                    return verify_list(pairs, path, dataset, split, fold, allow_unverified)
            if any(parent.glob("fold*")):
                incomplete = parent
    if incomplete:
        raise missing_list(
            f"no list of fold {fold} in {incomplete}; expected fold{fold}.txt or fold{fold}.pkl", dataset
        )
    return None


def verdict(pairs: Sequence[Pair], dataset: str, split: str, fold: int) -> str:
    """Compare a derived (image, class) list with the official one; return `OFFICIAL`, `REORDERED` or `DERIVED`."""
    known = checksums(dataset).get((split, fold))
    if known is None or len(pairs) != known.pairs:
        return DERIVED
    pairs = tuple(pairs)
    if pairs_sha256(pairs, ordered=True) == known.sha256_ordered:
        return OFFICIAL
    return REORDERED if pairs_sha256(pairs, ordered=False) == known.sha256_sorted else DERIVED


def joined_origin(origins: Sequence[str]) -> str:
    """Return the origin of a list joined from several: the least certain origin of the parts, such as "derived"."""
    certainty = [OFFICIAL, REORDERED, DERIVED, UNVERIFIED]
    return max(origins, key=certainty.index)


def joined_lists(parts: Sequence[PairList | None]) -> PairList | None:
    """Join the lists that are not None, in order; None if none is left."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    pairs = tuple(pair for part in there for pair in part.pairs)
    return PairList(pairs, joined_origin([part.origin for part in there]))


def verify_list(
    pairs: tuple[Pair, ...], path: Path, dataset: str, split: str, fold: int, allow_unverified: bool
) -> PairList:
    """Return a file's (image, class) pairs as a list, marked "official" if its checksum is, else unverified.

    Args:
        pairs: the pairs.
        path: the file, for the message.
        dataset: name of the data set.
        split: name of the split.
        fold: the fold.
        allow_unverified: accept another checksum than the official one.

    Raises:
        DataError: the checksum is not the official one, and `allow_unverified` is not set.
    """
    known = checksums(dataset).get((split, fold))
    found = pairs_sha256(pairs, ordered=True)
    if known is not None and found == known.sha256_ordered:
        return PairList(pairs, OFFICIAL)
    if allow_unverified or known is None:  # of COCO's training lists for PFENet no checksum is known
        return PairList(pairs, UNVERIFIED)
    expected = f"{known.pairs} pairs, sha256 {known.sha256_ordered}"
    raise missing_list(
        f"list {path} was altered: found {len(pairs)} pairs, sha256 {found}; expected {expected}; fetch the authors' "
        "file again, or set allow_unverified_lists to use it and have the record say so",
        dataset,
    )


def _read_text(path: Path) -> tuple[Pair, ...]:
    pairs = []
    for number, line in enumerate(read_list(path).splitlines(), start=1):
        match = re.fullmatch(r"([\w.-]+)__(\d{1,2})", line.strip())
        if not match or int(match[2]) == 0:
            raise DataError(
                f"line {number} of list {path} is {line[:80]!r}; expected <image name>__<class number>, for example "
                "2007_000033__01; fetch it again"
            )
        pairs.append((match[1], int(match[2])))
    return tuple(pairs)


def _read_pickle(path: Path) -> tuple[Pair, ...]:
    expected = "expected a pickle with nothing but {class number - 1: [image names]}; fetch it again"
    try:
        lists = parse_plain_pickle(read_bytes(path, "list"))
    except (OSError, ValueError) as error:
        raise DataError(f"list {path} cannot be read ({error}); {expected}") from error
    plain = isinstance(lists, dict) and all(
        type(key) is int and key >= 0 and isinstance(names, list) and all(type(name) is str for name in names)
        for key, names in lists.items()
    )
    if not plain:
        raise DataError(f"list {path} holds something else; {expected}")
    return tuple((name, key + 1) for key in sorted(lists) for name in lists[key])
