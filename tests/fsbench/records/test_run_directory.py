"""A run's folder: who works in it, where a rerun is written, and what a killed process leaves."""

import logging
import shutil
import subprocess
import sys
import warnings

import pytest

from fsbench.base.errors import RunError, SettingsError
from fsbench.records.record import find_records
from fsbench.records.run_directory import is_finished, is_interrupted, open_run, replace
from tests.fsbench.records.test_record import finished


@pytest.mark.parametrize(
    "left",
    [
        {"run": "first", "run.again": "second"},
        {".run.replaced": "first", "run.again": "second"},  # killed between the two renames
        {"run": "second", ".run.replaced": "first"},
    ],
)
def test_a_repetition_killed_at_any_step_leaves_one_record(tmp_path, left):
    """Every state that a killed process can leave; the next process does the rest."""
    run = tmp_path / "run"
    for name, label in left.items():
        finished(tmp_path / name, label)
    assert [record.run.label for record in find_records(tmp_path)] == [left.get("run", "first")]
    assert is_interrupted(run) and not is_finished(run)
    with open_run(run, force=True) as directory:
        assert directory.is_complete
    assert [record.run.label for record in find_records(tmp_path)] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and is_finished(run) and not is_interrupted(run)


def test_an_unfinished_repetition_replaces_nothing(tmp_path):
    finished(tmp_path / "run", "first")
    (tmp_path / "run.again").mkdir()
    assert not is_interrupted(tmp_path / "run")
    replace(tmp_path / "run")
    assert [record.run.label for record in find_records(tmp_path)] == ["first"]


HOLD = """
import sys
from pathlib import Path
from fsbench.records.run_directory import open_run
with open_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_at_once(tmp_path):
    run = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match="another process is working on"), open_run(run):
            pass
        with open_run(run, rank=1) as directory:  # another rank of the run that holds it
            directory.write_json("identity.json", {})
            assert directory.path == run and not (run / "identity.json").exists()
    finally:
        holder.kill()
        holder.communicate()
    with open_run(run) as directory:  # the lock ended with its process
        assert not directory.is_complete


def test_a_finished_run_is_complete_unless_forced_and_a_backup_beside_it_is_left_alone(tmp_path):
    finished(tmp_path / "run", "first")
    finished(tmp_path / "run.old", "mine")
    with open_run(tmp_path / "run") as directory:
        assert directory.is_complete
    assert not (tmp_path / "run" / "run.log").exists()
    with open_run(tmp_path / "run", force=True) as directory:
        assert not directory.is_complete and directory.path == tmp_path / "run.again"
        shutil.rmtree(directory.path)
        finished(directory.path, "second")
        directory.publish()
    assert [record.run.label for record in find_records(tmp_path)] == ["second", "mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old"]


def test_messages_and_errors_go_to_the_log(tmp_path):
    with pytest.raises(RunError), open_run(tmp_path / "run"):
        logging.getLogger("fsbench").info("a message")
        raise RunError("it broke")
    text = (tmp_path / "run" / "run.log").read_text()
    assert "a message" in text and "ERROR it broke" in text and "Traceback" not in text
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "run"):
        print(1 / 0)
    assert "Traceback" in (tmp_path / "run" / "run.log").read_text()


def test_messages_go_to_the_folder_entered_last_and_afterwards_where_they_went_before(tmp_path):
    lightning, shown_by = logging.getLogger("lightning.pytorch"), warnings.showwarning
    before = list(lightning.handlers), lightning.level, lightning.propagate
    with open_run(tmp_path / "first") as first:
        with open_run(tmp_path / "second"):
            with first.logged():
                lightning.warning("one")
            lightning.warning("two")
        warnings.warn("three", stacklevel=1)
    for name, words in (("first", {"one", "three"}), ("second", {"two"})):
        text = (tmp_path / name / "run.log").read_text()
        assert {word for word in ("one", "two", "three") if word in text} == words
    assert (list(lightning.handlers), lightning.level, lightning.propagate) == before
    assert warnings.showwarning is shown_by
