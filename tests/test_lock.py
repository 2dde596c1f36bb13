"""The locked test environment: files with hashes of the very versions that constraints.txt names."""

import importlib.util
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fsbench.base.paths import REPOSITORY

LOCKED = REPOSITORY / ".ci" / "requirements.txt"
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
ONLY_HERE = re.compile(r"(nvidia-|cuda-)[a-z0-9-]+|triton|setuptools")
"""What torch itself pins, by its variant; constraints.txt leaves it out, and a file of all files cannot."""


@pytest.fixture(scope="module")
def locked() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by name."""
    text = re.sub(r"^#.*\n", "", LOCKED.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        requirement = Requirement(line.partition(" --hash")[0])
        (version,) = requirement.specifier
        assert version.operator == "==" and requirement.marker is None and requirement.url is None
        assert re.fullmatch(rf"\S+( +{HASH.pattern})+", line), line
        found[canonicalize_name(requirement.name)] = (version.version, HASH.findall(line))
    return found


def test_versions_are_those_of_the_constraints(locked):
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    constraints = {canonicalize_name(name): version for name, version in pairs}
    assert len(constraints) > 150
    shared = {name: version for name, (version, _) in locked.items() if not ONLY_HERE.fullmatch(name)}
    assert shared == constraints, 'run "make lock"'


def test_no_file_has_the_hash_of_another_project(locked):
    digests = [digest for _, hashes in locked.values() for digest in set(hashes)]
    assert len(set(digests)) == len(digests)


def test_no_address_is_in_it():
    assert "://" not in LOCKED.read_text() and "index" not in LOCKED.read_text()


def test_ci_installs_from_it():
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    lines = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    assert all(bool(line["constraints"]) == bool(line["hashes"]) for line in lines)
    assert {line["hashes"] for line in lines} == {"", LOCKED.relative_to(REPOSITORY).as_posix()}
    pythons = module().PYTHONS
    for line in lines:
        assert not line["hashes"] or any(version.startswith(line["python"]) for version in pythons)


def module(name="hashes"):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / ".ci" / f"{name}.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_lowest_versions_are_those_of_the_bounds():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {name: items for name, items in project["optional-dependencies"].items() if name not in ("test", "docs")}
    wanted = {
        requirement.name: next(s.version for s in requirement.specifier if s.operator in (">=", "=="))
        for requirement in map(Requirement, [*project["dependencies"], *(r for name in extras for r in extras[name])])
        if requirement.name != "fsbench" and "platform_system" not in str(requirement.marker)
    }
    found = {r.name: r.specifier for r in map(Requirement, module("lowest").lowest().values())}
    assert found.keys() == wanted.keys() and len(found) > 30
    assert all(version in found[name] for name, version in wanted.items())


def test_ci_tests_the_lowest_versions():
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"] for step in jobs["lowest"]["steps"] if "run" in step]
    install = "make venv CONSTRAINTS=lowest.txt"
    assert commands == ["python .ci/lowest.py > lowest.txt", install, "make test CONSTRAINTS=lowest.txt"]


def report(**hashes):
    return {
        "install": [
            {"metadata": {"name": name}, "download_info": {"archive_info": {"hashes": {"sha256": digest}}}}
            for name, digest in hashes.items()
        ]
    }


def test_every_versions_files_are_listed():
    written = module().requirements(["a.b==1", "c==2"], [report(A_b="22", c="33"), report(a_b="11", c="33")])
    assert written == "a.b==1 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\nc==2 \\\n    --hash=sha256:33\n"
    with pytest.raises(KeyError):
        module().requirements(["c==2"], [report(d="1")])
