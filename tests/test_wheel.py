"""The wheel in an environment without a clone: what a user of `pip install fsbench` gets."""

import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY

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
        file if file.startswith("fsbench/") else f"fsbench/{file}"
        for file in tracked.stdout.splitlines()
        if file.startswith(("fsbench/", "methods/", "datamodules/", "configs/"))
        or file.startswith(
            (
                "benchmarks/published/",
                "benchmarks/regression/",
                "benchmarks/manifests/",
                "benchmarks/effects/",
            )
        )
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected - names == {"fsbench/methods", "fsbench/datamodules"}  # links, in whose places are folders
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"fsbench"}


@pytest.mark.slow(3)
def test_a_source_archive_builds_the_same_wheel(wheel, tmp_path):
    """The archive has no links, and the folders that they lead to."""
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path), "--target"]
    subprocess.run([*build, "sdist"], cwd=REPOSITORY, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    subprocess.run([*build, "wheel"], cwd=source, capture_output=True, check=True)
    (made,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(made).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow(60)
def test_the_first_hour_of_a_newcomer(wheel, tmp_path):
    """From an empty folder through wheel, bench, a copied package with a method, its check, bench, bundle to board."""
    # the other packages, without what .pth files of their folder add: an editable installation of the clone
    (packages,) = site.getsitepackages()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script, template = REPOSITORY / "tests" / "newcomer.sh", REPOSITORY / "docs" / "template"
    done = subprocess.run(
        ["bash", script, wheel, template, tmp_path / "empty", packages],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for shown in ("19 checks, 0 failed", "results.fsb: 2 runs", "site/index.html: 2 rows"):
        assert shown in done.stdout + done.stderr
    work = tmp_path / "empty" / "work"
    assert {path.name for path in work.iterdir()} >= {"runs", "package", "bundles", "site"}
