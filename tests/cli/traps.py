"""End or hinder a run at one of its events, wherever that is, so that a test can try every one of them.

An event is a change of the disk that Python makes in the run's folder (a file opened to be written, a rename, a
removal, a new folder), a line of the journal, a step of an optimiser or the end of W&B's run. It has not happened yet
when the trap is sprung.
"""

import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_pre_hook

from fsbench.records.checked_jsonl import CheckedJsonl

NEW = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
"""Events of Python's audit hooks that change the disk, besides "open"."""


def set_trap(folder: str, notes: str, at: int = -1, how: str = "kill") -> None:
    """Watch this process from now on.

    Args:
        folder: only changes below it are events.
        notes: file for what happened, a JSON line each: {"event": ...}, and {"synced": inode, "size": ...} of `fsync`.
        at: number of the event at which the trap is sprung; never if negative.
        how: "kill" ends the process; "full" fails this and all later events that need space, "read-only" all; "copy"
            hinders nothing, but copies the folder before this and all later events to `copy_before`.
    """
    trap = _Trap(folder, notes, at, how)
    sys.addaudithook(trap.audit)
    register_optimizer_step_pre_hook(lambda *_: trap.event("step", "", needs_space=False))
    append, fsync = CheckedJsonl.append, os.fsync

    def watched_append(self: CheckedJsonl, *values: Any) -> None:
        trap.event("line", str(self.path))
        append(self, *values)

    def watched_fsync(file: Any) -> None:
        fsync(file)
        status = os.fstat(file if isinstance(file, int) else file.fileno())
        trap.note(synced=status.st_ino, size=status.st_size)

    CheckedJsonl.append = watched_append  # type: ignore[method-assign]
    os.fsync = watched_fsync
    if os.environ.get("WANDB", "off") != "off":
        import wandb  # spared where a run does without

        finish = wandb.Run.finish

        def watched_finish(*arguments: Any, **more: Any) -> Any:
            trap.event("wandb", "")
            return finish(*arguments, **more)

        wandb.Run.finish = watched_finish  # type: ignore[method-assign]


def copy_before(notes: str | Path, number: int) -> Path:
    """Return where the trap "copy" leaves the folder as it was before an event: as SIGKILL would have left it."""
    return Path(f"{notes}-before") / str(number)


class _Trap:
    def __init__(self, folder: str, notes: str, at: int, how: str):
        self.folder, self.at, self.how = folder, at, how
        self.copies, self.copying = notes, False
        self.notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.count = 0
        self.process = os.getpid()

    def note(self, **what: Any) -> None:
        os.write(self.notes, (json.dumps(what) + "\n").encode())

    def audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if os.getpid() != self.process or self.copying or (name not in CHANGES and name != "open"):
            return
        if name == "open" and not (isinstance(arguments[2], int) and arguments[2] & NEW):
            return
        path = arguments[1] if name == "os.rename" else arguments[0]
        if not isinstance(path, (str, bytes, os.PathLike)) or not os.fsdecode(path).startswith(self.folder):
            return
        file = Path(os.fsdecode(path))
        if name in ("os.remove", "os.rename") and file.exists():
            self.note(gone=file.stat().st_ino)  # a number that may come again
        self.event(name, str(file), needs_space=name in ("open", "os.mkdir"))

    def event(self, name: str, path: str, needs_space: bool = True) -> None:
        if os.getpid() != self.process:
            return  # in a run that is a fork of the watched command
        number, self.count = self.count, self.count + 1
        self.note(event=name, path=path)
        if self.at < 0 or number < self.at:
            return
        if self.how == "kill":
            os.kill(self.process, signal.SIGKILL)
        elif self.how == "copy":
            self.copy(copy_before(self.copies, number))
        elif self.how == "read-only" and path:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        elif self.how == "full" and needs_space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def copy(self, place: Path) -> None:
        self.copying = True
        if Path(self.folder).is_dir():
            shutil.copytree(self.folder, place, symlinks=True)
        self.copying = False


def events(notes: Path) -> list[tuple[str, str]]:
    """Return the events in a file of notes: their names and paths."""
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    return [(line["event"], line["path"]) for line in lines if "event" in line]


def cut_power(folder: Path, notes: Path) -> None:
    """Truncate every file in `folder` to what of it was on the disk for certain: its size at its last `fsync`."""
    synced: dict[int, int] = {}
    for line in map(json.loads, notes.read_text().splitlines()):
        if "synced" in line:
            synced[line["synced"]] = line["size"]
        elif "gone" in line:
            synced.pop(line["gone"], None)
    for file in folder.rglob("*"):
        status = file.lstat()
        if file.is_file() and not file.is_symlink() and synced.get(status.st_ino, 0) < status.st_size:
            os.truncate(file, synced.get(status.st_ino, 0))
