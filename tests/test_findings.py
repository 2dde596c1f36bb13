"""The scripts in findings: short, alone, of pinned packages. They are run by hand, for they install what they need."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "findings").glob("*.sh"))


def unpinned(line: str) -> list[str]:
    """Return what a command `pip install` names without an exact version. "$pinned" is a name of the loop around it."""
    words = line.split("pip install", 1)[1].replace('--target "${pinned#*==}"', "").split()
    return [word for word in words if not word.startswith("--") and "==" not in word and word != '"$pinned"']


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(script: Path) -> None:
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert len(text.splitlines()) <= 60
    assert "fsbench" not in text.lower()
    assert re.findall("^# ([A-Z][a-z]+): ", text, re.MULTILINE) == ["Guess", "Found", "Hurts"]
    assert "\nset -euo pipefail\n" in text
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs and not any(map(unpinned, installs))
    assert all("==" in line for line in text.splitlines() if line.startswith("for pinned in"))
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""


def test_unpinned_package_is_seen() -> None:
    assert unpinned("venv/bin/pip install --quiet numpy==2.2.6 scipy 'polars>=1'") == ["scipy", "'polars>=1'"]


def test_there_are_findings() -> None:
    assert len(SCRIPTS) >= 10
