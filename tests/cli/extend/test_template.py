"""docs/template, the package that a reader copies: installed as it stands, its own test, and runs with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fsbench.base.paths import IS_CLONE, REPOSITORY
from fsbench.records.record import find_records
from tests.cli.test_readme import EXAMPLES

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="the template is a clone's")

TEMPLATE = REPOSITORY / "docs" / "template"
FSBENCH = f"""#!{sys.executable}
import sys

from fsbench.__main__ import command

if __name__ == "__main__":
    sys.exit(command())
"""

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the template's wheel is installed, with nothing else in it."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(TEMPLATE, folder / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "../dist"],
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target=../site",
         "--find-links=../dist", "fsbench-mine"],
    ):  # fmt: skip
        done = subprocess.run(command, cwd=folder / "copy", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture
def shell(site: Path, tmp_path: Path) -> Shell:
    """shell(command, folder) -> the finished command; it must end well."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fsbench").write_text(FSBENCH)
    (tmp_path / "bin" / "fsbench").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{REPOSITORY}:{site}",
        "OMP_NUM_THREADS": "1",
        "FSBENCH_CACHE": str(tmp_path / "cache"),
    }

    def call(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-euo", "pipefail", "-c", command]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return call


def test_its_method_is_the_example_of_the_readme():
    """Under the package's own names, so that the guide explains both."""
    code, settings = EXAMPLES["methods/nearest.py"], yaml.safe_load(EXAMPLES["configs/methods/nearest.yaml"])
    assert (TEMPLATE / "mine" / "method.py").read_text() == code.replace("Nearest", "Mine")
    settings["model"]["class_path"] = "mine.method.Mine"
    assert yaml.safe_load((TEMPLATE / "mine" / "configs" / "methods" / "mine.yaml").read_text()) == settings


@pytest.mark.slow(3)
def test_the_wheel_brings_the_code_and_the_settings_and_their_names_are_known(site, shell, tmp_path):
    files = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {name for name in files if ".dist-info" not in name and not name.endswith(".pyc")} == {
        "mine/__init__.py", "mine/method.py", "mine/dataset.py", "mine/metric.py",
        "mine/configs/methods/mine.yaml", "mine/configs/data/my_images.yaml",
    }  # fmt: skip
    assert "mine" in shell("fsbench list methods", tmp_path).stdout.split()
    assert "my_images" in shell("fsbench list data", tmp_path).stdout.split()
    assert "inside-mIoU" in shell("fsbench list metrics", tmp_path).stdout.split()


@pytest.mark.slow(60)
def test_its_own_test_passes_and_its_data_set_is_tested_on(shell, tmp_path):
    """That its method keeps the contract is checked in the first hour of a newcomer."""
    copy = shutil.copytree(TEMPLATE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    own = shell("python -m pytest -q -p no:cacheprovider -c /dev/null --rootdir=.", copy)
    assert "4 passed" in own.stdout
    shell(
        "python -c 'from test_mine import draw_images; from pathlib import Path; draw_images(Path(\"images\"))'", copy
    )
    few = "--data.image_size=96 --data.test.episodes=9 --data.loading.workers=0 --no-trivial"
    done = shell(f"fsbench bench --method mine --backbone demo --dataset my_images --data-root images {few}", copy)
    assert "my_images" in done.stdout
    (record,) = find_records(copy / "runs")
    assert record.scores["mIoU"] > 0
    names = ("part", "name", "package", "version")
    origins = {tuple(one[name] for name in names) for one in record.run.provenance.plug_ins}
    assert origins == {
        ("method", "mine.method.Mine", "fsbench-mine", "0.1.0"),
        ("data set", "mine.dataset.MyImages", "fsbench-mine", "0.1.0"),
    }
