"""`fsbench new`: packages that work as they are written, and names that are refused."""

import json
import os
import subprocess
import sys

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["method", "Mine"], "the name is 'Mine', expected a Python module's"),
        (["method", "a/b"], "the name is 'a/b', expected a Python module's"),
        (["method", "class"], "the name is 'class', expected a Python module's"),
        (["method", "json"], "would hide the Python module json"),
        (["method", "polars"], "is that of an installed Python module"),
        (["method", "emat"], "there is a method emat already"),
        (["dataset", "pascal"], "there is a dataset pascal already (see: fsbench list)"),
        (["protocol", "hsnet"], "there is a protocol hsnet already (see: fsbench protocols)"),
        (["method", "e_mat"], "would have the class EMat, whose name is taken"),
    ],
)
def test_bad_names_are_refused(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    assert main(["new", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fsbench: error: ") and expected in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert main(["new", "method", "mine"]) == 2
    assert "mine is there already; expected a new folder" in capsys.readouterr().err
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(
    ("kind", "folder", "said"),
    [
        ("method", "methods", "fsbench bench --method ./code/my_own/my_own.py:MyOwn --dataset demo"),
        ("dataset", "data", "--dataset ./code/my_own/my_own.py:MyOwn"),
        ("protocol", "protocols", "pip install -e ./code/my_own\n"),
    ],
)
def test_a_package_has_its_parts_and_says_how_to_try_it(tmp_path, monkeypatch, capsys, kind, folder, said):
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, "my_own", "--in", "code"]) == 0
    files = {str(path.relative_to(tmp_path / "code")) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"my_own/{name}" for name in (
        "README.md", "my_own.py", f"my_own_configs/{folder}/my_own.yaml", "pyproject.toml", "test_my_own.py",
        "accepted/cases.yaml", ".github/workflows/check.yml",
        *([".github/actions/verdict/action.yml"] if kind == "method" else []),
    )}  # fmt: skip
    for file in files:
        text = (tmp_path / "code" / file).read_text()
        assert ("${" not in text or file.endswith("action.yml")) and text.endswith("\n") and not text.endswith("\n\n")
        assert "§" in text or "test_" in file or file.endswith(("cases.yaml", "check.yml", "action.yml"))
    assert said in capsys.readouterr().out


def scores(runs) -> dict[str, float]:
    (file,) = runs.glob("*/run.json")
    return json.loads(file.read_text())["scores"]


@pytest.mark.slow
def test_the_tests_of_new_packages_pass(warm, tmp_path):
    for kind, name in (("method", "mine"), ("dataset", "yours"), ("protocol", "ours")):
        assert warm("new", kind, name).returncode == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=."]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "mine", "yours", "ours"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "8 passed" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_new_data_set_is_tested_on_as_it_is_written(warm, tmp_path):
    assert warm("new", "dataset", "mine").returncode == 0
    done = warm("bench", "--method", "prototype", "--backbone", "demo", "--dataset", "./mine/mine.py:Mine",
                "--data.image_size=128", "--data.episodes=20", "--data.workers=0")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "runs")["mIoU"] > 0.2
    assert (tmp_path / "data" / "mine" / "images").is_dir()
