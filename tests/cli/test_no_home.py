"""Users without a home folder that can be written to, as containers have them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsbench.base.environment import KEPT_AT_HOME, without_home
from fsbench.base.paths import REPOSITORY, cache_folder
from fsbench.data.file_digests import content_digests
from tests.cli.commands import images_of

STRANGER = 54321
"""A number that no user has."""

DENIED = "Permission denied"
NOT_KEPT = (
    "fsbench: note: cannot keep counts and checksums in {folder} ({reason}); they are made again in every run; set "
    "FSBENCH_CACHE to a folder that can be written to\n"
)


@pytest.fixture
def by_stranger() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """by_stranger(*arguments, **variables) -> the finished `fsbench` process of a user without a name or a home.

    That user may read everything.
    """
    user = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*user, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can be another user, with util-linux's setpriv")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is its user's alone
        Path(folder).chmod(0o777)

        def call(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
            command = [*user, sys.executable, "-m", "fsbench", *map(str, arguments)]
            return subprocess.run(
                command, env=environment | more, cwd=folder, capture_output=True, text=True, timeout=400, check=False
            )

        yield call


@pytest.mark.slow(20)
def test_a_user_without_name_and_home_is_told_so_in_one_line(by_stranger, blocks_folder):
    listed = by_stranger("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    here = by_stranger("list", "here", "--all")
    assert "absent  folder cache: cannot write to /.cache/fsbench (Permission denied)" in here.stdout, here.stderr
    checked = by_stranger("data", "check", "folder", "--root", blocks_folder)
    assert (checked.returncode, checked.stderr) == (0, NOT_KEPT.format(folder="/.cache/fsbench", reason=DENIED))


@pytest.mark.slow(60)
def test_a_run_of_such_a_user_ends_well(by_stranger, small_demo):
    """No library fails or complains either: W&B, Matplotlib and fontconfig write to the home folder."""
    few = ["--episodes", "6", "--no-trivial", "--data.image_size=64", "--data.loading.workers=0"]
    few += images_of(small_demo)
    done = by_stranger("bench", "--method", "prototype", "--dataset", "demo", *few, WANDB="offline")
    assert done.returncode == 0 and "mIoU" in done.stdout, done.stderr
    notes = [line for line in done.stderr.splitlines() if not line.startswith(("[1/1]", "W&B: "))]
    assert notes == [NOT_KEPT.format(folder="/.cache/fsbench", reason=DENIED).rstrip()]


def test_libraries_get_temporary_folders_where_the_home_cannot_be_made(monkeypatch, tmp_path):
    for name in KEPT_AT_HOME:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    with without_home():
        folders = [Path(os.environ[name]) for name in KEPT_AT_HOME]
        assert all(folder.is_dir() for folder in folders)
    assert not any(folder.exists() or name in os.environ for name, folder in zip(KEPT_AT_HOME, folders, strict=True))
    monkeypatch.setenv("HOME", str(tmp_path))
    with without_home():
        assert not any(name in os.environ for name in KEPT_AT_HOME)


def test_a_cache_that_cannot_be_written_to_is_noted_once(monkeypatch, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    os.utime(file, (0, 0))
    monkeypatch.setenv("FSBENCH_CACHE", str(file / "cache"))
    monkeypatch.setattr("fsbench.data.file_digests.SETTLED_NS", 0)  # the file's content is kept at once
    assert content_digests([file]) == content_digests([file])
    assert capsys.readouterr().err == NOT_KEPT.format(folder=cache_folder(), reason="Not a directory")
