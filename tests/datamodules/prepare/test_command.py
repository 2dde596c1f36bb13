"""Settings, lock and folder of `fsbench data prepare`, which are the same for every data set."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.datamodules.prepare.archives import prepare


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--timeout", "-5", "--timeout is -5, expected a number from 0.001"),
        ("--retries", "-1", "--retries is -1, expected a whole number from 0"),
        ("--url-base", "http://[bad", "expected an address that begins with http:// or https://"),
        ("--url-base", "ftp://here", "expected an address that begins with http:// or https://"),
    ],
)
def test_settings_of_downloads_are_checked(  # type: ignore[no-untyped-def]
    tmp_path: Path, capsys, option: str, value: str, message: str
) -> None:
    assert prepare("coco", "--root", tmp_path / "coco", "--no-lists", option, value) == 2
    assert message in capsys.readouterr().err


HOLD_LOCK = """
import pathlib, sys
from fsbench.base.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_call_has_to_wait(ready: Path, capsys: pytest.CaptureFixture) -> None:
    command = [sys.executable, "-c", HOLD_LOCK, ready / ".prepare.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        assert prepare("pascal", "--root", ready, "--no-lists") == 2
        holder.communicate()
    assert "another `fsbench data prepare` works in" in capsys.readouterr().err


def test_root_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x").touch()
    assert prepare("pascal", "--root", tmp_path / "x", "--no-lists") == 2
    assert "cannot write to" in capsys.readouterr().err
