"""The wheel in an environment without a clone: what a user of `pip install fsbench` gets."""

import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fsbench.paths import IS_CLONE, REPOSITORY

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="a wheel is built from a clone")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_every_file_of_the_suite_and_no_other_package(wheel):
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    expected = {
        f"fsbench/{file}" if file.startswith(("configs/", "benchmarks/")) else file
        for file in tracked.stdout.splitlines()
        if file.startswith(("fsbench/", "methods/", "datamodules/", "configs/"))
        or file.startswith(("benchmarks/published/", "benchmarks/regression/", "benchmarks/manifests/"))
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not expected - names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"fsbench", "methods", "datamodules"}


@pytest.mark.slow
def test_a_bench_in_an_empty_folder_of_an_environment_with_the_wheel_alone(wheel, tmp_path):
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    # the other packages, without what .pth files of their folder add: an editable installation of the clone
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FSBENCH"))}

    def fsbench(*arguments: str) -> str:
        done = subprocess.run([environment / "bin" / "fsbench", *arguments], cwd=folder, capture_output=True, text=True,
                              env=clean | {"HOME": str(tmp_path)}, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run([python, "-c", "import fsbench, methods; print(fsbench.__file__, methods.__file__)"],
                           cwd=folder, capture_output=True, text=True, env=clean, check=True)  # fmt: skip
    assert all(path.startswith(str(packages)) for path in where.stdout.split())
    assert "emat" in fsbench("list")
    printed = fsbench("bench", "--method", "prototype", "--dataset", "demo", "--fast")
    assert "prototype" in printed and "mIoU" in printed
    (record,) = (folder / "runs").glob("*/run.json")
    assert "prototype" in fsbench("table", "runs", "--published")
    assert "dinov2_vits14" in fsbench("weights", "list")
    assert not list(folder.glob("**/*.pyc")) and record.is_file()
    assert sorted(path.name for path in folder.iterdir()) in (["data", "runs"], ["runs"])
