"""Files are whole or not there; a lock is one process's, and ends with it."""

import multiprocessing
import os
import signal
from contextlib import suppress

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.files import locked, remove_halves, replacing


def hold(path, connection):
    """Hold the lock, with a child of this process about, until told to let go."""
    try:
        with locked(path):
            child = os.fork()
            if child == 0:
                signal.pause()
            connection.send(child)
            connection.recv()
            os.kill(child, signal.SIGKILL)
    except BlockingIOError:
        connection.send(None)


@pytest.fixture
def holder(tmp_path):
    """holder() -> (process, connection, id of its child, None where the lock was held already)."""
    context, started = multiprocessing.get_context("fork"), []

    def start():
        here, there = context.Pipe()
        process = context.Process(target=hold, args=(tmp_path / ".lock", there))
        process.start()
        child = here.recv()
        started.append((process, child))
        return process, here, child

    yield start
    for process, child in started:
        process.kill()
        process.join()
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def test_one_process_has_a_lock_and_removes_it(holder, tmp_path):
    first, connection, child = holder()
    assert child is not None and holder()[2] is None
    connection.send("let go")
    first.join()
    assert not (tmp_path / ".lock").exists()
    assert holder()[2] is not None


def test_a_killed_processs_lock_is_free_though_its_child_lives(holder):
    """As the workers of a loader do for some seconds."""
    first, _, child = holder()
    first.kill()
    first.join()
    os.kill(child, 0)
    assert holder()[2] is not None


def test_halves_that_a_killed_process_left_are_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "deep" / "x.json") as temporary:
        temporary.write_text("half")
        temporary.with_name(".kept.json").write_text("other")
        temporary.with_name(".photo.jpg.new").write_text("a user's")
        half = temporary.with_name(temporary.name.replace(f".{os.getpid()}.", ".1."))
        half.write_text("half")
        raise KeyboardInterrupt
    assert half.exists()
    remove_halves(tmp_path)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [".kept.json", ".photo.jpg.new"]


def test_what_is_no_file_keeps_its_name(tmp_path):
    """A device that was named as the file to write would be gone for the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(SettingsError, match="is no plain file"), replacing(tmp_path / name):
            pass
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "folder").is_dir() and len(list(tmp_path.iterdir())) == 2


def test_a_file_that_another_process_removes_meanwhile_is_no_device(tmp_path):
    """A shared cache drops its oldest files while others write: one that is gone after the first look was a file."""

    class RemovedOnceSeen(type(tmp_path)):
        def stat(self, **how):
            seen = super().stat(**how)
            self.unlink()
            return seen

    path = RemovedOnceSeen(tmp_path / "entry.npz")
    path.write_text("old")
    with replacing(path, durable=False) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "entry.npz").read_text() == "new"
