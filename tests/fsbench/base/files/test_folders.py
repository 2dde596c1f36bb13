"""Folders are written whole or not at all; what a killed process left behind goes, and nothing else does."""

import multiprocessing
import os

import pytest

from fsbench.base.files.folders import LISTING, replacing_folder, scratch_folder

MARK = "report.json"


def write(out, told, at):
    """Replace `out`, and wait to be killed: while files are written, or between the two renames."""
    if at == "renames":
        rename = type(out).rename

        def pause(path, target):
            rename(path, target)
            if target.parent.name == "old":
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
def test_the_folder_of_a_killed_process_goes_with_the_next_write(writer, tmp_path, at):
    replace_once(tmp_path / "report", "first")
    process = writer(at)
    with scratch_folder(tmp_path / "other"):  # the writer lives: its folder stays
        assert len(names(tmp_path)) == (3 if at == "files" else 2)
    process.kill()
    process.join()
    with scratch_folder(tmp_path / "other"):
        left = [path for path in tmp_path.iterdir() if path.name != "report"]
        assert len(left) == 1 and (tmp_path / "report" / MARK).read_text() == "first"
    assert names(tmp_path) == ["report"]
    replace_once(tmp_path / "report", "second")
    assert names(tmp_path / "report") == [LISTING, MARK] and (tmp_path / "report" / MARK).read_text() == "second"


@pytest.mark.parametrize("at", ["files", "renames"])
def test_a_left_over_folder_goes_whatever_the_number_of_its_process(writer, tmp_path, at):
    """In containers numbers of processes come again; a folder that this process writes to stays."""
    replace_once(tmp_path / "report", "first")
    process = writer(at)
    process.kill()
    process.join()
    left = next(path for path in tmp_path.iterdir() if path.name.startswith(".fsbench-"))
    left.rename(tmp_path / f".fsbench-{os.getpid()}-abcdefgh.new")
    with scratch_folder(tmp_path / "one") as one, scratch_folder(tmp_path / "other") as other:
        assert one.is_dir() and other.is_dir() and len(names(tmp_path)) == 3
    assert names(tmp_path) == ["report"] and (tmp_path / "report" / MARK).read_text() == "first"


def test_only_what_fsbench_wrote_is_removed(writer, tmp_path):
    """A folder of such a name without its file, a file of such a name, and what somebody put into one of ours."""
    process = writer("files")
    process.kill()
    process.join()
    ours = next(path for path in tmp_path.iterdir() if path.name.startswith(".fsbench-"))
    (ours / "thesis.txt").write_text("mine")
    for name in (".fsbench-1-abc.new", ".report.1.new"):
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "new" / "thesis.txt").write_text("mine")
    (tmp_path / ".fsbench-2-abc.new").write_text("mine")
    replace_once(tmp_path / "report", "new")
    expected = sorted([".fsbench-1-abc.new", ".fsbench-2-abc.new", ".report.1.new", ours.name, "report"])
    assert names(tmp_path) == expected and names(ours) == ["thesis.txt"]
    assert (tmp_path / ".fsbench-1-abc.new/new/thesis.txt").read_text() == "mine"


def test_a_folder_has_the_rights_of_any_new_one(tmp_path):
    """That it is written in is readable by its writer alone."""
    (tmp_path / "plain").mkdir()
    replace_once(tmp_path / "report", "new")
    assert (tmp_path / "report").stat().st_mode == (tmp_path / "plain").stat().st_mode
