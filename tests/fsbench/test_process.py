"""The end of a command's process: everything that was registered for it runs, and only then is the rest left out."""

import gc
import os
import subprocess
import sys

import pytest

from fsbench import process
from fsbench.paths import REPOSITORY

PROGRAM = """
import sys
from fsbench.process import begin
{before}
end = begin()
import atexit, io, os, threading, time, multiprocessing, tempfile
from pathlib import Path

class Noticed:
    def __del__(self):
        os.write(1, b"taken apart ")

def main():
    {body}
    return 3

noticed = Noticed()
noticed.itself = noticed
print("x" * 200_000)
sys.exit(end.run(main))
"""


def run(body: str = "pass", before: str = "") -> tuple[int, str, str]:
    """Exit status and end of the output of a process whose main function has this body."""
    program = PROGRAM.format(body=body, before=before)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    lines = done.stdout.splitlines()
    assert "x" * 200_000 in lines, "more than a pipe holds is lost"
    return done.returncode, " ".join(line for line in lines if not line.startswith("x")), done.stderr


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("pass", ""),
        ("atexit.register(print, 'registered')", "registered"),
        ("threading.Thread(target=lambda: (time.sleep(0.3), print('joined'))).start()", "joined"),
        ("threading.Thread(target=time.sleep, args=[60], daemon=True).start()", ""),
        ("global folder; folder = tempfile.TemporaryDirectory(); atexit.register(lambda: print(len(folder.name) > 0))",
         "True"),
        ("multiprocessing.Process(target=print, args=['a child']).start()", "a child"),
        ("global f; f = Path(os.devnull).open()", ""),  # open to be read
        ("global f; f = io.StringIO('no file')", ""),
    ],
)  # fmt: skip
def test_the_end_is_quick_after_all_that_was_registered(body, shown):
    assert run(body) == (3, shown, "")


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("global f; f = Path(os.devnull).open('w')", ""),
        ("global f; f = os.fdopen(os.dup(2), 'wb', buffering=0)", ""),
        ("pass", "import logging"),  # registered before, it would be called after
    ],
)
def test_the_end_is_an_ordinary_one_where_something_may_be_lost(body, before):
    status, shown, error = run(body, before)
    assert (status, error) == (3, "") and shown.strip() == "taken apart"


@pytest.mark.parametrize("end", ["", "; raise SystemExit(3)"])
def test_a_process_group_is_left_before_every_end(end):
    """Its threads end with it: one that enters the interpreter while that is taken apart aborts the process."""
    body = "import torch; from torch import distributed; global leave; leave = distributed.destroy_process_group; "
    body += "distributed.destroy_process_group = lambda: (leave(), print('left', distributed.is_initialized())); "
    body += "distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1); "
    body += f"distributed.all_reduce(torch.ones(3)){end}"
    status, shown, error = run(body)
    assert (status, shown.split()[:2], error) == (3, ["left", "False"], "")


def test_after_a_failure_no_collective_of_a_gpu_is_waited_for():
    body = "from torch import distributed; distributed.get_backend = lambda: 'nccl'; "
    body += "distributed.destroy_process_group = lambda: print('left'); "
    body += "distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1)"
    assert run(body) == (3, "", "")


def test_an_exception_ends_in_the_usual_way():
    status, shown, error = run("raise SystemExit('no')")
    assert (status, shown.strip(), error) == (1, "taken apart", "no\n")


def test_a_file_that_is_not_closed_is_written(tmp_path):
    file = tmp_path / "a"
    run(f"global f; f = open({str(file)!r}, 'w'); f.write('held')")
    assert file.read_text() == "held"


def test_a_child_that_python_forked_does_not_end_for_its_parent():
    status, shown, _ = run("pid = os.fork() or sys.exit(5); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
    assert status == 3 and shown.split()[-1] == "5"


@pytest.mark.parametrize("is_command", [False, True])
def test_collection_pauses_while_something_heavy_is_imported(monkeypatch, is_command):
    monkeypatch.setattr(process, "_is_command", is_command)
    before = gc.get_freeze_count()
    try:
        with process.heavy_imports():
            assert not gc.isenabled()
        assert gc.isenabled() and (gc.get_freeze_count() > before) == is_command  # none but a command's own process
    finally:
        gc.unfreeze()


def test_it_stays_off_where_it_was():
    gc.disable()
    try:
        with process.heavy_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
