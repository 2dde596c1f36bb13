"""Completion: what a shell is answered, as the shells ask."""

import os
import subprocess
import sys

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.cli.completion import SHELLS
from fsbench.cli.main import main


def completed(line, tmp_path):
    """Return what a shell is offered at the end of `line`."""
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n",
             "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "PYTHONPATH": str(REPOSITORY)}  # fmt: skip
    subprocess.run([sys.executable, "-m", "fsbench"], env=os.environ | asked, check=True, timeout=300)
    return [word.strip() for word in answer.read_text().split("\n")]


def test_commands_options_and_names(tmp_path):
    assert {"bench", "bundle", "board"} & set(completed("fsbench b", tmp_path)) >= {"bench", "bundle"}
    assert completed("fsbench bench --dry", tmp_path) == ["--dry-run"]
    assert completed("fsbench bench --method ema", tmp_path) == ["emat", "emat_seg"]
    assert completed("fsbench bench --method cst,ema", tmp_path) == ["cst,emat", "cst,emat_seg"]
    pascal = ["pascal", "pascal10i", "pascal_part"]
    assert completed("fsbench bench --dataset pas", tmp_path) == pascal
    assert completed("fsbench data prep", tmp_path) == ["prepare"]
    assert completed("fsbench bench --protocol atl", tmp_path) == ["atlas:"]
    assert completed("fsbench bench --protocol hsnet,atlas:cyctr/pas", tmp_path) == ["hsnet,atlas:cyctr/pascal-5i"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_given_its_script(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "fsbench" in script and "_ARGCOMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["completion", "bsh"])
    assert "did you mean 'bash'?" in capsys.readouterr().err
