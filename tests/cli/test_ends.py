"""However a command ends: one line, escaped and short, its cause first; options are checked before anything starts."""

import ast
import errno
import resource
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest

import fsbench.cli.list
from fsbench.base.errors import CheckpointError, DataError, describe, user_message
from fsbench.base.files import replacing
from fsbench.base.paths import REPOSITORY
from fsbench.base.terminal import LONGEST, escape, one_line
from fsbench.cli import main as command
from tests.cli.processes import the_record
from tests.fsbench.records.test_checked_jsonl import largest_file


@pytest.fixture
def fails(capsys, monkeypatch) -> Callable[[BaseException], tuple[int, str]]:
    """fails(error) -> exit status and standard error of a command in which `error` is raised."""

    def call(error: BaseException) -> tuple[int, str]:
        def raises(*_: object) -> int:
            raise error

        monkeypatch.setattr(fsbench.cli.list, "_list", raises)
        status = command.main(["list"])
        return status, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied", "a.txt"), "Permission denied: a.txt"),
        (MemoryError("Unable to allocate 3 GiB"), "out of memory (Unable to allocate 3 GiB)"),
        (RecursionError("maximum recursion depth exceeded"), "the input is nested too deeply"),
        (ValueError("bad\nsecond line"), "ValueError: bad"),
        (ValueError(f"\x1b[2J{'x' * 10**6}"), "ValueError: \\u001b[2Jxxx"),
        (
            RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. "),
            "(pid 17) was killed by the",
        ),
        (RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"), "process (pid 1, 2) exited unexpectedly"),
        (
            RuntimeError(
                "DataLoader worker (pid 17) is killed by signal: Bus error. It is possible that dataloader's workers "
                "are out of shared memory. Please try to raise your shared memory limit."
            ),
            "the shared memory is full; give the container more of it (docker run --shm-size=8g",
        ),
        (
            RuntimeError("unable to write to file </torch_7_42_0>: No space left on device (28)"),
            "the shared memory is full; give the container more of it (docker run --shm-size=8g",
        ),
        (KeyError("name"), "KeyError: 'name'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_nobody_foresaw_is_one_line(fails, error, words):
    status, err = fails(error)
    assert status == 2 and err.startswith("fsbench: error: ") and words in err
    assert len(err.splitlines()) == 1 and len(err) < LONGEST + 200 and "\x1b" not in err
    assert "FSBENCH_TRACEBACK=1" in err


def test_the_traceback_is_there_for_who_asks(fails, monkeypatch):
    monkeypatch.setenv("FSBENCH_TRACEBACK", "1")
    with pytest.raises(ValueError, match="bad"):
        fails(ValueError("bad"))


def test_the_signal_that_ended_a_worker_is_named_behind_the_error_that_it_led_to():
    try:
        try:
            raise RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. ")
        finally:
            raise RuntimeError("DataLoader worker (pid(s) 17) exited unexpectedly")
    except RuntimeError as error:
        assert "(pid 17) was killed by the signal Killed;" in describe(error)


def test_a_worker_that_is_gone_is_named_instead_of_the_file_that_was_being_read(fails):
    """torch tells of it by a signal, whatever the process does at that moment."""
    error = CheckpointError("cannot read vit.safetensors: RuntimeError; fetch it again")
    error.__cause__ = RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. ")
    status, err = fails(error)
    assert status == 2 and "(pid 17) was killed by the signal Killed; " in err and "vit.safetensors" not in err
    assert len(err.splitlines()) == 1


def test_a_full_disk_is_named_behind_the_errors_that_it_led_to():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "best.ckpt")
        finally:
            raise RuntimeError("unexpected pos 768 vs 662")
    except RuntimeError as error:
        assert describe(error).startswith("No space left on device: best.ckpt; make room")
    told = ValueError("parquet: underlying IO error: No space left on device (os error 28)")
    assert describe(told).startswith("No space left on device; make room")


def test_control_characters_are_shown_and_not_sent():
    assert escape("a\x1b[31m\x07\u202e\udcff\n") == "a\\u001b[31m\\u0007\\u202e\\udcff\\u000a"
    assert escape("Ω 漢 \n\t", "\n\t") == "Ω 漢 \n\t"
    assert len(one_line("y" * 10**7)) < LONGEST + 10
    message = user_message(DataError("no photo a\nfsbench: all is well.jpg", "  put it there"))
    assert message == "no photo a\\u000afsbench: all is well.jpg\n  put it there"


def test_names_of_files_reach_the_screen_escaped(capsys, tmp_path):
    folder = tmp_path / "\x1b]0;title\x07\nfsbench: fine"
    folder.mkdir()
    assert command.main(["table", str(folder)]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err and "\\u001b]0;title\\u0007\\u000afsbench: fine" in err and len(err.splitlines()) == 1


def test_nothing_is_printed_past_the_escape():
    """No file but fsbench/base/terminal.py calls print or writes to the standard streams.

    The script that is put beside an exported file runs without fsbench, where nothing escapes.
    """
    found = set()
    folders = (REPOSITORY / name for name in ("fsbench", "methods", "datamodules"))
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        text = path.read_text()
        if "print(" in text or "sys.std" in text:
            calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
            if calls & {"print", "sys.stdout.write", "sys.stderr.write"}:
                found.add(str(path.relative_to(REPOSITORY)))
    assert found == {"fsbench/base/terminal.py", "fsbench/predict/run_exported.py"}


@pytest.mark.slow(20)
@pytest.mark.parametrize("rank", [0, 1])
def test_two_ranks_of_which_one_loses_a_worker(fsbench, run_arguments, rank):
    more = ["--data.loading.workers=1", "--data.test.episodes=60", "--trainer.devices=2", "--trainer.strategy=ddp"]
    more += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    more += ["--trainer.callbacks+=tests.cli.pausing.LoseWorkers", f"--trainer.callbacks.rank={rank}"]
    done = fsbench(*run_arguments("prototype", "runs", *more))
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("evaluation: ")]
    assert done.returncode in (1, 2) and len(lines) == 1, done.stderr
    # which signal it was cannot be known where Python's multiprocessing was told before torch
    assert "was killed by the signal" in lines[0] or ") exited unexpectedly; out of memory?" in lines[0]
    assert "run the same command again to continue" in lines[0]


@pytest.mark.slow
def test_a_disk_that_is_full(spawn, run_arguments, tmp_path):
    """A limit of the size of files stands for it, which the checkpoint reaches."""
    process = spawn(*run_arguments("emat", "runs"), PYTHONDONTWRITEBYTECODE="1")  # lest compiled modules are cut off
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
    _, err = process.communicate(timeout=400)
    lines = [line for line in err.splitlines() if line.startswith("fsbench")]
    assert process.returncode == 2 and "Traceback" not in err, err
    assert len(lines) == 1 and lines[0].startswith("fsbench: error: File too large"), err
    assert not list(tmp_path.glob("runs/*/run.json"))


@pytest.mark.slow(2)
def test_a_disk_that_is_full_amid_the_table_of_counts(capsys, run_arguments, finished_runs, tmp_path, monkeypatch):
    """One line; no episode is evaluated again when there is space."""

    @contextmanager
    def full(path):
        with replacing(path) as temporary, largest_file(1000):
            yield temporary

    words = run_arguments("prototype", tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr("fsbench.records.tables.replacing", full)
        assert command.main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fsbench")]
    assert len(lines) == 1 and lines[0].startswith("fsbench: error: File too large; make room"), lines
    assert not [file.name for file in tmp_path.rglob("*") if file.name in ("run.json", "episodes.parquet")]
    assert not list(tmp_path.rglob("*.new"))
    assert command.main(words) == 0
    record = the_record(tmp_path / "runs")
    assert "evaluation: 0 of 9 episodes are left" in (record.path / "run.log").read_text()
    assert record.counts_sha256 == the_record(finished_runs).counts_sha256


def test_a_connection_to_a_loaders_process_that_broke_is_told_as_its_end():
    """A batch may be on its way when the process dies; other broken connections are told as they are."""
    waiting = "def wait():\n    raise ConnectionResetError(104, 'Connection reset by peer')"

    def told(file: str) -> str:
        made: dict[str, Any] = {}
        exec(compile(waiting, file, "exec"), made)
        with pytest.raises(ConnectionResetError) as raised:
            made["wait"]()
        return describe(raised.value)

    assert told("/lib/torch/utils/data/dataloader.py") == (
        "a data loader's process ended; out of memory? take fewer --data.loading.workers; run the same command again "
        "to continue"
    )
    assert told("/lib/urllib/request.py") == "Connection reset by peer"
