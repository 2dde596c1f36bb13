"""The action of pull requests, by running its steps: each `run` with its variables, in a shell as GitHub starts it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.cli.main import main
from fsbench.doors.kits import load_kit_test
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.kit.kit import read_kit

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="the action is a clone's")

FILE = REPOSITORY / ".github" / "actions" / "verdict" / "action.yml"
SUBSTITUTE = re.compile(r"\$\{\{ ([\w.-]+) \}\}")


@dataclass(frozen=True)
class Done:
    """What the steps that ran printed, the exit status of the last, and the job's summary."""

    steps: list[str]
    status: int
    printed: str
    summary: str


def run_action(inputs: Mapping[str, str], work: Path, environment: Mapping[str, str], file: Path = FILE) -> Done:
    """Run the steps of a composite action one after the other, until one fails."""
    action = yaml.safe_load(file.read_text())
    unknown = inputs.keys() - action["inputs"].keys()
    assert not unknown, unknown
    values = {
        f"inputs.{name}": str(inputs.get(name, entry.get("default", ""))) for name, entry in action["inputs"].items()
    }
    values |= {"github.action_path": str(file.parent), "runner.temp": str(work / "temp")}
    (work / "temp").mkdir(exist_ok=True)
    summary = work / "summary.md"
    summary.write_text("")
    names, printed, status = [], "", 0
    for step in action["runs"]["steps"]:
        condition = re.fullmatch(r"(inputs\.[\w-]+) != ''", step.get("if", "inputs.accepted != ''"))
        if not values[condition[1]]:
            continue
        variables = {name: SUBSTITUTE.sub(lambda found: values[found[1]], text) for name, text in step["env"].items()}
        own = {**os.environ, **environment, **variables, "GITHUB_STEP_SUMMARY": str(summary)}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=work, env=own, capture_output=True, text=True, check=False)
        names.append(step["name"])
        printed, status = printed + done.stdout + done.stderr, done.returncode
        if status:
            break
    return Done(names, status, printed, summary.read_text())


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Programs of the action: pip keeps its arguments, since what it would install is here; fsbench is the clone's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pip").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/pip.log\n')
    (programs / "fsbench").write_text(f'#!/bin/sh\nexec {sys.executable} -m fsbench "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def test_the_action_lets_no_input_into_a_script():
    action = yaml.safe_load(FILE.read_text())
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash" and "${{" not in step["run"] and "uses" not in step
        used = {name for value in step["env"].values() for name in SUBSTITUTE.findall(value)}
        given = {f"inputs.{name}" for name in action["inputs"]} | {"github.action_path", "runner.temp"}
        assert used <= given
        assert {
            name for name in step["env"] if f"${name}" not in step["run"] and f"${{{name}" not in step["run"]
        } == set()
    assert (FILE.parents[3] / "pyproject.toml").is_file()  # what the first step installs


def answer(kit: Path, data: str, file: Path, rows: int) -> None:
    """Answer a kit with the truth on every `rows`-th row."""
    test = load_kit_test(read_kit(kit), root=data)
    with Answers(file, kit) as answers:
        for episode in test.manifest.episodes:
            truth = test.index.label_map(episode.query)
            mask = sum((way * (truth == number) for way, number in enumerate(episode.classes, 1)), 0 * truth)
            mask[np.arange(len(mask)) % rows != 0] = 0
            answers.add(episode.index, mask)


@pytest.mark.slow(20)
def test_answers_are_scored_and_held_against_the_accepted_run(blocks_folder, environment, tmp_path):
    data = str(blocks_folder)
    where = ["folder", "--data-root", data, "--fold", "1", "--episodes", "24", "--protocol", "pfenet"]
    assert main(["kit", *where, "--out", str(tmp_path / "kit")]) == 0
    for name, rows in (("good", 1), ("bad", 3)):
        answer(tmp_path / "kit", data, tmp_path / f"{name}.fsa", rows)
    inputs = {"answers": "good.fsa", "kit": "kit", "data-root": data, "accepted": "accepted run", "name": "my-own"}
    first = run_action(inputs, tmp_path, environment)
    assert first.status == 0 and "nothing is accepted yet" in first.summary, first.printed
    assert first.steps == ["Install", "Score the answers", "Compare with the accepted run"]
    assert (tmp_path / "pip.log").read_text() == f"install {FILE.parent}/../../..\n"
    assert (
        main(["verdict", str(tmp_path / "temp/fsbench-runs"), "--accepted", str(tmp_path / "accepted run"), "--accept"])
        == 0
    )
    equal = run_action(inputs, tmp_path, environment)
    assert equal.status == 0 and "my-own: equal: all counts of 24 episodes" in equal.summary, equal.printed
    worse_work = tmp_path / "temp/fsbench-runs"
    worse_work.rename(tmp_path / "before")
    worse = run_action(inputs | {"answers": "bad.fsa"}, tmp_path, environment)
    assert worse.status == 1 and "my-own: worse: mIoU" in worse.summary and "| mIoU | 1 | 100.00 |" in worse.summary
    worse_work.rename(tmp_path / "then")
    silent = run_action(inputs | {"answers": "bad.fsa", "fail-on": "never", "extra": "run"}, tmp_path, environment)
    assert silent.status == 0 and silent.summary == worse.summary
    assert (tmp_path / "pip.log").read_text().endswith("/../../..[run]\n")
    broken = run_action(inputs | {"answers": "none.fsa"}, tmp_path, environment)
    assert broken.status == 2 and broken.steps[-1] == "Score the answers" and broken.summary == ""


@pytest.mark.slow(60)
def test_a_package_runs_its_method_and_says_what_became_of_it(environment, tmp_path):
    """A copy of the action in a package, which is the template of docs/template."""
    package = shutil.copytree(REPOSITORY / "docs" / "template", tmp_path / "package")
    action = package / FILE.relative_to(REPOSITORY)
    action.parent.mkdir(parents=True)
    shutil.copy(FILE, action)
    few = "--data.episodes=30 --data.workers=0"
    inputs = {"accepted": "accepted/run", "method": "./mine/method.py:Mine", "options": few}  # it is not installed here
    first = run_action(inputs, package, environment, action)
    assert first.status == 0 and first.steps == ["Install", "Run the method", "Compare with the accepted run"], (
        first.printed
    )
    runs = package / "temp/fsbench-runs"
    assert main(["verdict", str(runs), "--accepted", str(package / inputs["accepted"]), "--accept"]) == 0
    code = package / "mine" / "method.py"
    assert "value > 0," in code.read_text()
    code.write_text(code.read_text().replace("value > 0,", "value > 0.3,"))
    runs.rename(tmp_path / "before")
    changed = run_action(inputs | {"fail-on": "changed"}, package, environment, action)
    assert changed.status == 1 and re.search("mine: (worse|better|not told apart): mIoU", changed.summary), (
        changed.printed
    )
    assert "of 30 episodes have other counts" in changed.summary
