"""GitHub's workflows run what was looked at: actions are named by commit, and jobs may only read."""

import re

import pytest
import yaml

from fsbench.base.paths import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.y*ml"))


def test_there_are_workflows():
    assert WORKFLOWS


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_by_commit(file):
    """A tag can be moved by whoever owns the action; a commit cannot. The comment says which version it is."""
    lines = re.findall(r"^[\s-]*uses:.*$", file.read_text(), re.MULTILINE)
    assert lines and len(lines) == sum("uses" in step for step in _steps(file))
    for line in lines:
        assert re.fullmatch(r"[\s-]*uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} +# v\d+(\.\d+)+", line), line


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_jobs_may_only_read(file):
    workflow = yaml.safe_load(file.read_text())
    given = [workflow["permissions"], *(job["permissions"] for job in _jobs(file) if "permissions" in job)]
    for permissions in given:
        assert isinstance(permissions, dict) and set(permissions.values()) <= {"read", "none"}, permissions


def test_the_parts_of_the_slow_tests_are_all_of_them():
    (slow,) = [jobs["slow"] for file in WORKFLOWS if "slow" in (jobs := yaml.safe_load(file.read_text())["jobs"])]
    parts = slow["strategy"]["matrix"]["part"]
    assert parts == [f"{number}/{len(parts)}" for number in range(1, len(parts) + 1)]


def _jobs(file):
    return list(yaml.safe_load(file.read_text())["jobs"].values())


def _steps(file):
    return [step for job in _jobs(file) for step in job["steps"]]
