"""Archives that no program can fetch: they are looked for where the user put them."""

from collections.abc import Sequence
from pathlib import Path

from datamodules.prepare.job import Job
from fsbench.data.source import missing


def find_archive(job: Job, names: Sequence[str], what: str, package: str) -> Path:
    """Return the first archive of `names` in the folder of `--from`, in `<root>/archives` or in the root.

    Args:
        job: its folders.
        names: file names under which the archive is known, the usual one first.
        what: the data set in words.
        package: whose `source.yaml` says where to get it.

    Raises:
        DataError: there is none; its further lines are instructions to fetch it.
    """
    places = [folder for folder in (job.source, job.root / "archives", job.root) if folder]
    for folder in places:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise missing(
        f"no archive of {what} in {' or '.join(map(str, places))}; expected {names[0]}, which cannot be downloaded by "
        "a program",
        package,
    )
