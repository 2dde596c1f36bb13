"""The report's folder: written beside its place, put there whole, and never over something that is not a report."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsbench.errors import SettingsError
from fsbench.files import make_folder, write_text
from fsbench.published import Figure
from fsbench.report.collect import collect, read_runs
from fsbench.report.gallery import Pictures, picture
from fsbench.report.pages import Pages
from fsbench.report.workers import workers

MARK = "fsbench-report.json"
"""The file that says that a folder is a report."""


@dataclass(frozen=True)
class Asked:
    """What a report was asked for; `command` is how."""

    runs: Sequence[Path]
    out: Path
    metrics: Sequence[str]
    gallery: int
    most: int | None
    command: str


def write_report(asked: Asked, published: Sequence[Figure], say: Callable[[str], None]) -> list[str]:
    """Write the report; messages about runs that are left out."""
    out = Path(os.path.realpath(asked.out))  # where a link leads to: the link stays
    _check_place(out)
    records, refused = read_runs(asked.runs)
    if not records:
        folders = ", ".join(map(str, asked.runs))
        none = f"no finished run in {folders}; make one with: make bench"
        raise SettingsError("\n".join(refused) if refused else none)
    with _place(out) as folder, workers(len(records)) as pool:
        studies = collect(records, asked.metrics, pool, published, asked.most)
        pages = Pages(folder, studies, asked.command, refused)
        for study in studies:
            pages.folder(study).mkdir()
            pages.study(
                study, Pictures() if study.classifies else picture(study, pages.folder(study), asked.gallery, say)
            )
        pages.index()
        write_text(folder / MARK, json.dumps({"made by": asked.command, "runs": len(records)}) + "\n")
    return refused


def _check_place(out: Path) -> None:
    if Path.cwd().is_relative_to(out):
        raise SettingsError(f"--out {out} is the working folder or holds it; expected a new folder, such as report")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file()):
        raise SettingsError(f"--out {out} is there and is no report; expected a new folder, or a report to be replaced")


@contextmanager
def _place(out: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `out` when the block ends well."""
    make_folder(out.parent)
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        _check_place(out)
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        if old.exists() and not out.exists():  # the new one could not be put there
            old.rename(out)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
