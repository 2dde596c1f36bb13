"""Folders are written whole or not at all; what a killed process left behind goes, and nothing else does."""

import multiprocessing

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.files.folders import LISTING, replacing_folder

MARK = "report.json"


def write(out, told, at):
    """Replace `out`, and wait to be killed: while files are written, or between the two renames."""
    if at == "renames":
        rename = type(out).rename

        def pause(path, target):
            rename(path, target)
            if target.name == "old":
                told.send("moved away")
                told.recv()

        type(out).rename = pause
    with replacing_folder(out, MARK, "report") as new:
        (new / MARK).write_text("new")
        (new / "pictures").mkdir()
        (new / "pictures" / "a.png").write_text("half")
        if at == "files":
            told.send("written")
            told.recv()


@pytest.fixture
def writer(tmp_path):
    """writer(moment) -> a process that stands in the middle of replacing tmp_path/report."""
    context, started = multiprocessing.get_context("fork"), []

    def start(at):
        here, there = context.Pipe()
        process = context.Process(target=write, args=(tmp_path / "report", there, at))
        process.start()
        here.recv()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def replace_once(out, content):
    with replacing_folder(out, MARK, "report") as new:
        (new / MARK).write_text(content)


@pytest.mark.parametrize("at", ["files", "renames"])
def test_what_a_killed_process_left_goes_with_the_next_write(writer, tmp_path, at):
    """Whatever it had replaced gets its place back, also where the next write fails."""
    replace_once(tmp_path / "report", "first")
    process = writer(at)
    with pytest.raises(SettingsError, match="another process is writing"):
        replace_once(tmp_path / "report", "second")
    process.kill()
    process.join()
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "report", MARK, "report"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["report"] and (tmp_path / "report" / MARK).read_text() == "first"
    replace_once(tmp_path / "report", "second")
    assert names(tmp_path / "report") == [LISTING, MARK] and (tmp_path / "report" / MARK).read_text() == "second"


def test_only_what_fsbench_wrote_is_removed(writer, tmp_path):
    """A folder of the hidden name without the file of fsbench, and what somebody put into one of ours."""
    process = writer("files")
    process.kill()
    process.join()
    ours = tmp_path / ".fsbench-report.new"
    (ours / "thesis.txt").write_text("mine")
    replace_once(tmp_path / "report", "new")
    assert names(ours) == ["thesis.txt"]
    with pytest.raises(SettingsError, match="is not of fsbench; expected no such folder"):
        replace_once(tmp_path / "report", "newer")
    assert names(ours) == ["thesis.txt"] and (tmp_path / "report" / MARK).read_text() == "new"
