"""The place where the files of a folder are made before the folder gets them: beside it, so that a rename does it."""

import errno
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import locked

OTHER_ROOT = "give another folder with --root"
"""Way out of a disk that cannot be used."""


@contextmanager
def making_place(target: Path) -> Iterator[Path]:
    """Yield a temporary folder, locked against other processes, in which the files of `target` are made.

    The temporary folder is on the same disk as `target`, even if `target` or a folder above it is a link. Files that a
    killed process left in it are still there. If the block ends without an error, the temporary folder is removed.

    Args:
        target: folder that is to get the files; it may exist.

    Raises:
        SettingsError: another process is making files of `target`.
        DataError: the disk refuses to write or to rename.
    """
    goal, place = target.resolve(), _place(target)
    with disk_errors(goal):
        goal.parent.mkdir(parents=True, exist_ok=True)
        taken = f"another `fsbench data prepare` makes files of {goal}; wait for it, or stop it"
        with locked(_lock(goal), OTHER_ROOT, taken):
            yield place
            discard(place)


@contextmanager
def disk_errors(goal: Path) -> Iterator[None]:
    """Within the block, turn disk errors into one-line errors about the folder `goal`.

    Raises:
        DataError: any error of the disk.
        BrokenPipeError: nobody reads the output any more, which is not an error of the disk.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(
            f"cannot make files of {goal} ({error}); expected a folder on a disk that can be written to; make it so, "
            "or give another one with --root"
        ) from error


def remove_leftover(target: Path) -> None:
    """Remove temporary files that a killed process left for the complete folder `target`.

    The files stay if another process is working there, or if the disk is read-only.
    """
    place = _place(target)
    if place.is_dir() or source_note(place).exists():
        with suppress(OSError), locked(_lock(target.resolve()), OTHER_ROOT):
            discard(place)


def has_content(path: Path) -> bool:
    """Return whether `path` is a file, or a folder with at least one file that is not hidden."""
    return path.is_file() or (path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()))


def publish(making: Path, target: Path) -> None:
    """Rename the finished folder or file `making` to `target`, or to what `target` links to.

    The name appears only when everything is complete; files made on another disk are copied first. If `target` is a
    folder with files, such as hidden ones, these stay.
    """
    goal = target.resolve()
    goal.parent.mkdir(parents=True, exist_ok=True)
    if goal.is_dir() and any(goal.iterdir()):
        return publish_into(making, target)
    try:
        making.replace(goal)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = goal.with_name(f".{goal.name}.copying")
        _remove(copy)  # of a killed process
        shutil.copytree(making, copy) if making.is_dir() else shutil.copy2(making, copy)
        copy.replace(goal)
        _remove(making)
    source_note(making).unlink(missing_ok=True)


def publish_into(making: Path, target: Path, names: Set[str] | None = None) -> None:
    """Move the finished files in the temporary folder `making` into the folder `target`, which may hold other files.

    Args:
        making: the temporary folder, which is removed.
        target: the folder, created if absent.
        names: names of the files to move; None moves all, which may include files that a killed process left.
    """
    target.resolve().mkdir(parents=True, exist_ok=True)  # a link may lead to a folder that is not there yet
    for path in sorted(making.iterdir()):
        if names is None or path.name in names:
            path.replace(target / path.name)
    discard(making)


def discard(making: Path) -> None:
    """Remove the temporary folder `making`, if it exists."""
    _remove(making)
    note = source_note(making)
    if note.exists():  # a disk for reading only refuses to unlink what is not there, too
        note.unlink()


def source_note(making: Path) -> Path:
    """Return the path of the file beside the temporary folder `making` that names the archive it is made from."""
    return making.with_name(f"{making.name}.from")


def _place(target: Path) -> Path:
    goal = target.resolve()
    return goal.with_name(f".{goal.name}.making")


def _lock(goal: Path) -> Path:
    return goal.with_name(f".{goal.name}.lock")


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
