"""pytest takes files of tests in any order."""

import subprocess
import sys
from pathlib import Path

FILES = ("below/test_first.py", "test_above.py", "below/test_second.py")


def test_a_subfolder_keeps_its_fixtures(tmp_path: Path):
    """pytest 9.1 lost them for files of a subfolder that are named after a file of the folder above."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "conftest.py").write_text("import pytest\n\n@pytest.fixture\ndef answer():\n    return 42\n")
    for file in FILES:
        is_below = file.startswith("below")
        text = "def test_answer(answer):\n    assert answer == 42\n" if is_below else "def test_nothing():\n    pass\n"
        (tmp_path / file).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *FILES]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "3 passed" in run.stdout, run.stdout
