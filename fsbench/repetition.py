"""A finished run is repeated (FORCE=1) in a folder beside its own, which takes its place when it is complete.

At every moment one record of the run can be found, also where a process was killed between two renames.
"""

import shutil
from pathlib import Path

COMPLETE = "run.json"
"""The file of a record that is written last."""


def beside(folder: Path) -> Path:
    """Where the run of `folder` is repeated."""
    return folder.with_name(folder.name + ".again")


def _replaced(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def stands(folder: Path) -> bool:
    """Whether what is in `folder` counts: neither a repetition nor a run that was replaced already."""
    if folder.name.endswith(".old"):
        return not folder.with_suffix("").exists()
    return not folder.name.endswith(".again")


def cut_off(folder: Path) -> bool:
    """Whether the run of `folder` was killed while its repetition took its place."""
    return (beside(folder) / COMPLETE).is_file() or _replaced(folder).exists()


def replace(folder: Path) -> None:
    """Let a complete repetition take the place of `folder`, from wherever an earlier process got to. For who holds the
    run's lock."""
    new, old = beside(folder), _replaced(folder)
    if (new / COMPLETE).is_file():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
    elif old.exists() and not folder.exists():  # the repetition was removed by hand
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
