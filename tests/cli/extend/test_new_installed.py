"""Packages of `fsbench new` as others get them: a wheel, its installation, and the workflow of its repository."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main

pytestmark = pytest.mark.slow(30)

FSBENCH = f"""#!{sys.executable}
import sys

from fsbench.__main__ import command

if __name__ == "__main__":
    sys.exit(command())
"""
FOLDERS = {"method": "methods", "dataset": "data", "protocol": "protocols"}
CHANGES = {
    "method": ("value < 0.5", "value < 0.6", "pixels differ"),
    "dataset": ("2 * fold + 1, 2 * fold + 2", "4 - 2 * fold, 3 - 2 * fold", "something else was run"),
    "protocol": ("self.test_seed(task) or 0, number", "1, number", "another episode"),
}
"""For each kind a line of its file, what it becomes, and what the comparison then says."""


@pytest.fixture(params=FOLDERS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def shell(kind, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """shell(command, folder) -> the finished command, where the wheel of a new package mine is installed."""
    pytest.importorskip("hatchling")
    assert main(["new", kind, "mine", "--in", str(tmp_path)]) == 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fsbench").write_text(FSBENCH)
    (tmp_path / "bin" / "fsbench").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{REPOSITORY}:{tmp_path / 'site'}",
        "OMP_NUM_THREADS": "1",
        "FSBENCH_CACHE": str(tmp_path / "cache"),
    }

    def call(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-euo", "pipefail", "-c", command]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    for command in (
        "python -m hatchling build -t wheel -d ../dist",
        "python -m pip install --quiet --no-deps --no-index --target ../site ../dist/*.whl",
    ):
        done = call(command, tmp_path / "mine")
        assert done.returncode == 0, done.stdout + done.stderr
    return call


def test_the_wheel_brings_the_settings_and_its_name_is_known_elsewhere(kind, shell, tmp_path):
    installed = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    own = {name for name in installed if ".dist-info" not in name and not name.endswith(".pyc")}
    assert own == {"mine.py", f"mine_configs/{FOLDERS[kind]}/mine.yaml"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = shell("fsbench protocols" if kind == "protocol" else "fsbench list", elsewhere)
    assert listed.returncode == 0 and "mine" in listed.stdout.split(), listed.stdout + listed.stderr
    few = "--data.episodes=9 --data.workers=0"
    commands = {
        "method": "fsbench bench --method mine --dataset demo --fast --dry-run",
        "dataset": f"fsbench bench --method prototype --backbone demo --dataset mine --data.image_size=128 {few}",
        "protocol": "fsbench bench --protocol mine --method prototype --dataset demo --fast --data.workers=0",
    }
    done = shell(commands[kind], elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine" in done.stdout and ("mIoU" in done.stdout) == (kind != "method")


def test_the_workflow_s_commands_pass_and_find_what_moved(kind, shell, tmp_path):
    """As they stand in the file; what they install is installed here already."""
    package = tmp_path / "mine"
    workflow = yaml.safe_load((package / ".github" / "workflows" / "check.yml").read_text())
    steps = [step for step in workflow["jobs"]["check"]["steps"] if "run" in step]
    assert steps[0]["run"].startswith("pip install .")
    assert [step.get("if") for step in steps[1:]] == [None, None, "github.event_name == 'pull_request'"]
    compare = steps[-1]["run"]
    accepted = shell(f"{compare} --accept", package)
    assert accepted.returncode == 0 and (package / "accepted" / "mine.json").is_file(), accepted
    for step in steps[1:]:
        done = shell(step["run"], package)
        assert done.returncode == 0, done.stdout + done.stderr
    before, after, said = CHANGES[kind]
    code = (tmp_path / "site" / "mine.py").read_text()
    assert before in code
    (tmp_path / "site" / "mine.py").write_text(code.replace(before, after))
    moved = shell(compare, package)
    assert moved.returncode == 1 and said in moved.stdout, moved.stdout + moved.stderr
    assert f"accept it: {compare} --accept" in moved.stdout


def test_the_workflow_reads_only_and_names_actions_by_commit(kind, tmp_path):
    assert main(["new", kind, "mine", "--in", str(tmp_path)]) == 0
    own = (tmp_path / "mine" / ".github" / "workflows" / "check.yml").read_text()
    assert yaml.safe_load(own)["permissions"] == {"contents": "read"}
    suite = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    actions = [line.split("uses: ")[1] for line in own.splitlines() if "uses: " in line]
    assert actions.count("./.github/actions/verdict") == (kind == "method")
    actions = [action for action in actions if not action.startswith("./")]
    assert len(actions) == 3 and all(action in suite for action in actions)  # the commits that the suite looked at
