"""Provide the released list files: download them at a fixed commit or copy them, and verify their checksums."""

import shutil
from pathlib import Path

from fsbench.base.download import Digest, download
from fsbench.base.errors import DataError
from fsbench.base.files import replacing, sha256_file
from fsbench.data.published import ListFile, list_files
from fsbench.datamodules.prepare.job import ELSEWHERE, Job

REPOSITORIES = "https://raw.githubusercontent.com"
OPTIONAL = ("emat-size", "hmnet")
"""Groups of lists that may be absent: the suite derives the size splits, and PFENet's lists up to COCO's order."""


def provide_lists(job: Job, dataset: str, folder: str = "") -> list[str]:
    """Copy or download the published lists of a data set into `<root>/lists`.

    Args:
        job: folders and options of the preparation.
        dataset: name of the data set.
        folder: provide only lists whose path starts with this text; "" for all.

    Returns:
        Remarks for the user about lists that are missing, one sentence each.

    Raises:
        DataError: a list that cannot be derived is not available, or a file has another checksum than the authors'
            list.
    """
    if job.without_lists:
        return ["no lists were taken; the suite derives its own, and records say so"]
    rows = [row for row in list_files(dataset) if row.file.startswith(folder)]
    wanted = [row for row in rows if not _is_intact(job.root / "lists" / row.file, row.sha256)]
    if not wanted:
        return []
    return _copy(job.lists, job.root / "lists", wanted) if job.lists else _fetch(job, wanted)


def _fetch(job: Job, wanted: list[ListFile]) -> list[str]:
    """Download the wanted lists; returns remarks. A group that may be absent is given up after its first failure."""
    remarks = []
    failed: set[str] = set()
    for row in wanted:
        if not row.source or row.group in failed:
            continue
        url = job.url(f"{REPOSITORIES}/{row.source}", f"lists/{row.file}")
        try:
            download(url, job.root / "lists" / row.file, Digest("sha256", row.sha256).problem, job.retry, ELSEWHERE)
        except DataError as error:
            if row.group not in OPTIONAL:
                raise DataError(
                    f"{error}; lists at hand are taken with --lists DIR, and --no-lists does without"
                ) from error
            failed.add(row.group)
            remarks.append(f"lists {row.group} were not to be had ({error}); they are derived")
    without = sorted({row.group for row in wanted if not row.source})
    remarks += [f"lists {group}: no address is known; give a copy with --lists DIR" for group in without]
    return remarks


def _copy(folder: Path, target: Path, wanted: list[ListFile]) -> list[str]:
    """Copy the wanted lists from `folder` to `target`; returns remarks about absent ones."""
    if not folder.is_dir():
        raise DataError(f"the folder of lists {folder} does not exist; expected one with hsnet, emat-size or hmnet")
    absent = []
    for row in wanted:
        path = next((path for path in _places(folder, row) if path.is_file()), None)
        if path is None:
            absent.append(row.file)
            continue
        sha256 = sha256_file(path)
        if sha256 != row.sha256:
            raise DataError(
                f"list {path} was altered: found sha256 {sha256}; expected {row.sha256}; fetch the authors' file again"
            )
        (target / row.file).parent.mkdir(parents=True, exist_ok=True)
        with replacing(target / row.file) as temporary:
            shutil.copyfile(path, temporary)
    if len(absent) == len(wanted):
        raise DataError(f"{folder} has none of the {len(wanted)} lists, such as {absent[0]}; expected them there")
    return [f"{len(absent)} lists are not in {folder}: {absent[0]}{', …' * (len(absent) > 1)}"] if absent else []


def _places(folder: Path, row: ListFile) -> list[Path]:
    """Return where a user may have the file: in a folder of all lists, or in data/splits of the authors' checkout."""
    custom = row.source.rpartition("data/splits/")[2]
    return [folder / row.file, folder / row.inner, *([folder / row.group / custom, folder / custom] if custom else [])]


def _is_intact(path: Path, sha256: str) -> bool:
    """Return True if `path` is a file with this checksum."""
    return path.is_file() and sha256_file(path) == sha256
