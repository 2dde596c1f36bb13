"""Archives that no program can fetch: they are looked for where the user put them."""

from collections.abc import Sequence
from pathlib import Path

from fsbench.data.source import missing
from fsbench.datamodules.prepare.job import Job

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Ends of names of archives, which are read whatever they are packed with."""


def find_archive(job: Job, names: Sequence[str], what: str, package: str) -> Path:
    """Return the archive of one of `names` in the folder of `--from`, in `<root>/archives` or in the root.

    Args:
        job: its folders.
        names: file names under which the archive is known, the usual one first.
        what: the data set in words.
        package: whose `source.yaml` says where to get it.

    Raises:
        DataError: there is none; its further lines are instructions to fetch it.
    """
    found = archive_at_hand(job, names)
    if found is not None:
        return found
    others = [path.name for folder in _places(job) for path in _archives(folder)]
    instead = f" ({', '.join(others[:3])}{', …' * (len(others) > 3)} there)" if others else ""
    raise missing(
        f"no archive of {what} in {' or '.join(map(str, _places(job)))}{instead}; expected {names[0]}, which cannot be "
        "downloaded by a program",
        package,
    )


def archive_at_hand(job: Job, names: Sequence[str]) -> Path | None:
    """Return the archive of one of `names`, or the only one of a folder whose name begins alike; None without one.

    Browsers and Google Drive append numbers and dates ("archive (1).zip"), and users pack anew.
    """
    stems = tuple(name.lower().removesuffix(".zip") for name in names)
    for folder in _places(job):
        exact = next((folder / name for name in names if (folder / name).is_file()), None)
        alike = [path for path in _archives(folder) if path.name.lower().startswith(stems)]
        if exact or len(alike) == 1:
            return exact or alike[0]
    return None


def _places(job: Job) -> list[Path]:
    return [folder for folder in (job.source, job.root / "archives", job.root) if folder]


def _archives(folder: Path) -> list[Path]:
    """Return the archives in a folder by name; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.name.lower().endswith(ENDINGS) and path.is_file())
