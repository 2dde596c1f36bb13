"""Progress off a terminal: a line every ten seconds at most, none where quiet is asked for."""

import logging
import subprocess
import sys

import pytest

from fsbench.base import progress
from fsbench.base.paths import REPOSITORY
from fsbench.base.progress import ProgressLines, track
from fsbench.base.terminal import VERBOSITY, one_command, print_note
from fsbench.records.run_directory import open_run


@pytest.fixture
def clock(monkeypatch):
    """The seconds that `fsbench.base.progress` reads, to be set by the test."""
    now = {"now": 100.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["now"])
    return now


def test_a_line_every_ten_seconds(clock, capsys):
    lines = ProgressLines()
    for second in range(35):
        clock["now"] = 100.0 + second
        lines.say(f"second {second}")
    assert capsys.readouterr().err.splitlines() == ["second 10", "second 20", "second 30"]


def test_items_are_counted(clock, capsys):
    def work():
        for item in track(list("abcdef"), "Looking up", "run"):
            clock["now"] += 4
            yield item

    assert list(work()) == list("abcdef")
    assert capsys.readouterr().err.splitlines() == ["Looking up: 3 of 6 runs"]


def test_quiet(clock, capsys, monkeypatch):
    monkeypatch.setenv(VERBOSITY, "quiet")
    lines = ProgressLines()
    clock["now"] += 100
    lines.say("a")
    print_note("b")
    assert progress.hides_bar() is True and not progress.shows_bar() and capsys.readouterr().err == ""


def test_a_note_comes_once_a_command_whichever_of_its_processes_prints_it(capfd):
    code = "from fsbench.base.terminal import print_note; print_note('a'); print_note('b')"
    with one_command():
        print_note("a")
        subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    print_note("a")  # of the next command
    assert capfd.readouterr().err.splitlines() == [f"fsbench: note: {note}" for note in "aba"]


def test_the_log_has_no_advertisements(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(VERBOSITY, "verbose")
    with open_run(tmp_path / "run", rank=0, force=False):
        logging.getLogger("lightning.pytorch").info("💡 Tip: For seamless cloud logging, try installing [litlogger]")
        logging.getLogger("lightning.pytorch").info("`Trainer.fit` stopped")
    (line,) = (tmp_path / "run" / "run.log").read_text().splitlines()
    assert line.endswith("`Trainer.fit` stopped") and capsys.readouterr().err == "`Trainer.fit` stopped\n"
