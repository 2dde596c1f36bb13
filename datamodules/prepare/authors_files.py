"""Take annotation files of a data set's authors that no program can fetch."""

import shutil
from pathlib import Path

from fsbench.base.files import is_file, replacing
from fsbench.data.source import missing
from fsbench.datamodules.prepare.job import Job


def take_file(job: Job, file: str, package: str | None, root: Path | None = None) -> None:
    """Copy the authors' `file` from `--from` to its place in `root` (of `job` where it is None), unless it is there.

    Raises:
        DataError: the file is in neither place; the `source.yaml` of `package` tells what to fetch from where.
    """
    target = (root or job.root) / file
    if is_file(target):
        return
    places = [job.source / file, job.source / target.name] if job.source else []
    found = next((path for path in places if is_file(path)), None)
    if found is None:
        where = f" or {job.source}" if job.source else ""
        raise missing(f"no {file} in {target.parents[file.count('/')]}{where}; expected the authors' file", package)
    target.parent.resolve().mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        shutil.copyfile(found, temporary)
