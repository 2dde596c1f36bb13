"""`make versions`: which versions a cell has, what its tests really imported, and what the table says of it.

Two releases of a package that does nothing lie as wheels in a folder, where pip finds them.
"""

import os
from importlib import import_module
from zipfile import ZipFile

import pytest
import yaml

from fsbench.base.paths import REPOSITORY

PROJECT = """[project]
name = "suite"
dependencies = ["counter>=1.0,<3"]
[project.optional-dependencies]
run = ["other>=1.0"]
more = ["suite[run]", "third>=2.5,<3"]
test = ["tool>=1"]
"""
ASKS = """import counter, pytest
def test_counts():
    assert counter.COUNT == 2
def test_runs():
    pass
"""


@pytest.fixture(scope="module")
def versions():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / ".ci"))
        yield import_module("versions")


def save_wheel(folder, name, version, source, needs=""):
    information = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{information}/RECORD"])
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, content in (files | {f"{information}/RECORD": record}).items():
            wheel.writestr(file, content)
    return folder / f"{name}-{version}-py3-none-any.whl"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose bounds allow two releases of a package, of which the second is installed, and its tests."""
    (tmp_path / "wheels").mkdir()
    for version in (1, 2):
        wheel = save_wheel(tmp_path / "wheels", "counter", f"{version}.0.0", f"COUNT = {version}\n")
    save_wheel(tmp_path / "wheels", "other", "1.0", "")
    for installed in (wheel, tmp_path / "wheels" / "other-1.0-py3-none-any.whl"):
        ZipFile(installed).extractall(tmp_path / "installed")
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path / "installed"), os.environ.get("PYTHONPATH")])),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "test_asks.py").write_text(ASKS)
    return tmp_path / "pyproject.toml"


def test_ends_are_those_of_the_bounds(versions, tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    project = tmp_path / "pyproject.toml"
    assert versions.ends(["third"], project) == {"lowest": ["third==2.5.*"], "newest": ["third>=2.5,<3"]}
    assert versions.neighbours(["third"], project) == ["counter>=1.0,<3", "other>=1.0"]
    assert versions.neighbours(["counter"], project) == ["other>=1.0"]  # without the extra that a user may not have


@pytest.mark.slow(8)
def test_a_cell_that_fails_is_named_and_the_others_go_on(versions, project):
    axes = {"counter": ("counter",), "other": ("other",)}
    rows = list(versions.cells(axes, [str(project.with_name("test_asks.py"))], project=project))
    ends = [(row.axis, row.end, list(row.versions), row.passed) for row in rows]
    assert ends == [
        ("installed", "", [], 2),
        ("counter", "lowest", ["counter==1.0.0"], 1),
        ("counter", "newest, installed", ["counter==2.0.0"], 2),
        ("other", "lowest, installed", ["other==1.0"], 2),
        ("other", "newest, installed", ["other==1.0"], 2),
    ]
    assert [[test.rpartition("::")[2] for test in row.failures] for row in rows] == [[], ["test_counts"], [], [], []]
    assert "| counter | lowest | counter==1.0.0 | 1 | " in versions.table(rows)


@pytest.mark.slow(4)
def test_a_version_that_cannot_be_installed_is_a_failure_of_its_cell(versions, project):
    project.write_text(PROJECT.replace("counter>=1.0", "counter>=1.5"))
    rows = list(versions.cells({"counter": ["counter"]}, [str(project.with_name("test_asks.py"))], project=project))
    assert rows[1].passed == 0 and "counter==1.5.*" in rows[1].failures[0]
    assert not rows[2].failures


@pytest.mark.slow(3)
def test_a_cell_whose_tests_import_another_version_gives_no_answer(versions, project, tmp_path):
    """A test that puts the installed packages first, and one that imports none of them."""
    versions.pip("--no-deps", "--target", str(tmp_path / "over"), "counter==1.0.0")
    (tmp_path / "test_astray.py").write_text(f"import sys\nsys.path.insert(0, {str(tmp_path / 'installed')!r})\n{ASKS}")
    (tmp_path / "test_idle.py").write_text("def test_runs(): pass\n")
    for name, said in (
        ("test_astray.py", r"counter 2\.0\.0 is installed before 1\.0\.0 .*; counter was imported from .*installed"),
        ("test_idle.py", "no test imported counter of the cell"),
    ):
        with pytest.raises(versions.Refused, match=said):
            versions.run_tests(tmp_path / "over", ["counter"], [str(tmp_path / name)])


def test_tests_that_end_their_process_give_no_answer(versions, project, tmp_path):
    (tmp_path / "test_ends.py").write_text("import os\ndef test_ends(): os._exit(3)\n")
    with pytest.raises(versions.Refused, match="ended with status 3"):
        versions.run_tests(tmp_path, [], [str(tmp_path / "test_ends.py")])


def test_a_test_that_does_not_run_under_a_version_is_lost(versions):
    installed = {"a": "passed", "b": "passed", "c": "skipped", "d": "failed"}
    assert versions.verdict({"a": "passed", "b": "skipped", "e": "failed"}, installed) == (1, ["e", "b"])
    assert versions.verdict(installed, {}) == (2, ["d"])
    assert versions.verdict({}, {}) == (0, ["no test passed"])


def test_tests_and_packages_are_there(versions):
    assert all((REPOSITORY / path).exists() for path in versions.TESTS)
    bounds = {name for group in versions.requirements().values() for name in group}
    assert {name for names in versions.AXES.values() for name in names} <= bounds


def test_an_unknown_package_is_refused(versions, capsys):
    with pytest.raises(SystemExit):
        versions.main(["pilow"])
    assert "unknown: pilow; there are: numpy, pillow" in capsys.readouterr().err


def test_a_workflow_runs_them_every_week():
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "versions.yml").read_text())
    assert workflow[True].keys() == {"schedule", "workflow_dispatch"}  # YAML 1.1 takes "on" for true
    assert workflow["jobs"]["versions"]["steps"][-1]["run"] == "make versions"
