"""The folder of a run: its lock, its log, where to write, and how a finished rerun takes the place of the old record.

A finished run is repeated (FORCE=1) in a staging folder beside its own. At every moment one complete record of the run
exists, also when a process is killed between two renames.
"""

import json
import logging
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsbench.base.errors import FsbenchError, user_message
from fsbench.base.files import locked, make_folder, remove_halves, replacing
from fsbench.base.terminal import is_verbose

COMPLETE = "run.json"
"""File of a record that is written last."""
LOGGERS = ("fsbench", "lightning", "lightning.pytorch", "lightning.fabric", "py.warnings")
"""Loggers whose messages go to a run's log; Lightning's have handlers of their own."""

log = logging.getLogger("fsbench")


@dataclass(frozen=True)
class RunDirectory:
    """Folder of a run that this process works in (`open_run`).

    Attributes:
        path: folder to write to: `folder`, or its staging folder while a finished run is repeated.
        rank: number of this process among those that share the run.
        is_complete: whether the run is finished and is not to be repeated, so that there is nothing to do.
        handlers: what writes messages to the run's log.
    """

    folder: Path
    path: Path
    rank: int = 0
    is_complete: bool = False
    handlers: Sequence[logging.Handler] = ()

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Send log messages and warnings to the run's log instead of the screen, within the block."""
        loggers = [logging.getLogger(name) for name in LOGGERS]
        before = [(each, each.handlers, each.level, each.propagate) for each in loggers]
        shown_by = warnings.showwarning
        logging.captureWarnings(True)
        captures = warnings.showwarning is not shown_by  # not within another block
        for each in loggers:
            each.handlers, each.propagate = list(self.handlers), False
            each.setLevel(logging.INFO)
        try:
            yield
        finally:
            for each, own, level, propagates in before:
                each.handlers, each.propagate = own, propagates
                each.setLevel(level)
            if captures:
                logging.captureWarnings(False)

    def write_json(self, name: str, values: Any) -> None:
        self.write_text(name, json.dumps(values, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write the file `name` in the run's folder; only rank 0 writes."""
        if self.rank == 0:
            with replacing(self.path / name) as temporary:
                temporary.write_bytes(content)

    def publish(self) -> None:
        """Move the complete record to its final folder; rank 0 calls this after it has written the last file."""
        if self.path != self.folder:
            replace(self.folder)


@contextmanager
def open_run(folder: Path, rank: int = 0, force: bool = False) -> Iterator[RunDirectory]:
    """Lock the folder of a run for one group of processes, and finish a replacement that a killed process began.

    Unless the run is complete, half-written files of killed processes are removed, and messages go to `run.log` instead
    of the screen, also an exception that leaves the block. Of several folders, the one entered last gets the messages.

    Rank 0 alone locks, cleans up and replaces; `force` repeats a finished run. SettingsError if another process works
    on the run, or the folder cannot be written or locked.
    """
    make_folder(folder.parent)
    with held(folder) if rank == 0 else nullcontext():
        was_interrupted = rank == 0 and is_interrupted(folder)
        if was_interrupted:
            replace(folder)
        exists = (folder / COMPLETE).is_file()
        if was_interrupted or (exists and not force):
            yield RunDirectory(folder, folder, rank, is_complete=True)
            return
        path = staging_folder(folder) if exists else folder
        make_folder(path)
        if rank == 0:
            remove_halves(path)
        with closing(_LogFile(path / "run.log")) as file:
            directory = RunDirectory(folder, path, rank, handlers=_log_handlers(file))
            with directory.logged():
                try:
                    yield directory
                except FsbenchError as error:
                    log.error("%s", user_message(error))
                    raise
                except Exception as error:
                    log.error("failed", exc_info=error)
                    error.add_note(f"the traceback is in {path / 'run.log'}")
                    raise


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def held(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of the run in `folder` within the block; SettingsError if another process works on the run."""
    return locked(_lock_file(folder), refusal=f"another process is working on {folder}; wait for it or stop it")


def is_held(folder: Path) -> bool:
    """Return whether a process is working on the run in `folder`, on this or another machine with the same disk."""
    file = _lock_file(folder)
    try:
        with locked(file) if file.exists() else nullcontext():
            return False
    except BlockingIOError:
        return True


class _LogFile(logging.FileHandler):
    """A log file that a full disk leaves incomplete; the run says by itself why it ends."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print no traceback for each line that cannot be written."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def _is_no_advertisement(record: logging.LogRecord) -> bool:  # of other products, as Lightning's tips are
    return not re.search(r"💡|\bTip:|litlogger|litmodels|lightning\.ai", str(record.msg))


def _log_handlers(file: _LogFile) -> list[logging.Handler]:
    file.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [file, *([logging.StreamHandler()] if is_verbose() else [])]
    for each in handlers:
        each.addFilter(_is_no_advertisement)
    return handlers


def staging_folder(folder: Path) -> Path:
    """Return the folder in which a finished run is repeated before it replaces `folder`."""
    return folder.with_name(folder.name + ".again")


def _replaced_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.replaced")  # a name that no backup of a user has


def is_current(folder: Path) -> bool:
    """Return whether the record in `folder` is valid: it is not a repetition in progress and was not replaced."""
    replaced = re.fullmatch(r"\.(.+)\.replaced", folder.name)
    return not (folder.with_name(replaced[1]).exists() if replaced else folder.name.endswith(".again"))


def is_finished(folder: Path) -> bool:
    """Return whether `folder` has a complete record, which may be damaged, that no newer record waits to replace."""
    return (folder / COMPLETE).is_file() and not is_interrupted(folder)


def is_interrupted(folder: Path) -> bool:
    """Return whether a process was killed while a repeated run replaced `folder`."""
    return (staging_folder(folder) / COMPLETE).is_file() or _replaced_folder(folder).exists()


def replace(folder: Path) -> None:
    """Replace `folder`, whose lock is held, by its finished repetition, or finish an interrupted replacement."""
    new, old = staging_folder(folder), _replaced_folder(folder)
    if (new / COMPLETE).is_file():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
    elif old.exists() and not folder.exists():  # the rerun was removed by hand
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
