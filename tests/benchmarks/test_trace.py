"""The traced run tells the files whose functions ran by stage, in all processes; the structure counts what it names."""

import sys

import pytest

from benchmarks.structure import habits
from benchmarks.trace import report, traced_run

FILES = {
    "fsbench/__init__.py": "",
    "fsbench/__main__.py": "from fsbench.cli import bench\nbench.main()\n",
    "fsbench/cli/__init__.py": "",
    "fsbench/cli/bench.py": """
import multiprocessing
from fsbench.cli import other
from fsbench.files import made_at_import
from fsbench.records import write

made_at_import()

def add_command():
    other.add_options()

def main():
    add_command()
    child = multiprocessing.get_context("fork").Process(target=write)
    child.start()
    child.join()
""",
    "fsbench/cli/other.py": "def add_options():\n    pass\n",
    "fsbench/records.py": "from fsbench import files\n\ndef write():\n    files.write_text()\n",
    "fsbench/files.py": "def write_text():\n    pass\n\ndef made_at_import():\n    pass\n",
    "fsbench/unused.py": "def nothing():\n    pass\n",
}


def test_files_that_ran_are_told_by_stage(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.trace.STAGES", {"request": ("fsbench/cli",), "record": ("fsbench/records.py",)})
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    found = traced_run(tmp_path)
    assert {stage: dict(files) for stage, files in found.items()} == {
        "request": {"fsbench/cli/bench.py": {"add_command", "main"}},
        "options of other commands": {"fsbench/cli/other.py": {"add_options"}},
        "record": {"fsbench/records.py": {"write"}, "fsbench/files.py": {"write_text"}},
    }
    assert report(found, False).endswith("in the whole run: 3 files, and 1 that only register options")


def test_a_checkout_without_its_environment_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="make one there with: make venv"):
        traced_run(tmp_path)


def test_habits_are_counted():
    text = """
import a

def of_run(x: dict[str, Any]) -> dict[str, Any]:
    import b
    def inner():
        from c import d

class X:
    def _written_of(self): ...
    def offer(self): ...
    def tracked(self): ...
    def read_tracked(self): ...
    def _blaming(self): ...
"""
    assert habits(text) == (2, 2, 2, 2)
