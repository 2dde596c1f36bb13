"""Every published data set names the files that it lacks and how to get them, in runs, checks and preparing.

None of them loads heavy packages before it is used.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.runner.config.datasets import open_dataset
from fsbench.runner.config.registry import dataset_source, names
from tests.datamodules.prepare.archives import prepare

NAMES = [name for name in names("data") if dataset_source(name).kind == "published"]
COMMAND = {"isaid512": "isaid", "isic_one": "isic", "pascal10i": "pascal"}
"""Data set -> the one that its folder is prepared as."""


@pytest.mark.parametrize("name", NAMES)
def test_missing_data_say_what_is_expected_and_how_to_get_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "data"
    for _ in ("absent", "empty"):
        with pytest.raises(DataError) as error:
            open_dataset(name, root)
        first, *lines = str(error.value).splitlines()
        assert str(root) in first and "expected " in first
        assert lines and all(line.startswith("  ") for line in lines)
        text = "\n".join(lines)
        assert f"fsbench data prepare {COMMAND.get(name, name)}" in text
        assert "train2014.zip" not in text or name == "coco"  # coco_all has its test part alone
        assert main(["data", "check", name, "--root", str(root)]) == 1
        problem, verdict = capsys.readouterr().out.splitlines()  # the check says it in a line
        assert problem.startswith("PROBLEM") and str(root) in problem
        assert verdict == f"{name} in {root}: not usable as it is: 1 problem"
        root.mkdir(exist_ok=True)


@pytest.mark.parametrize("name", [name for name in NAMES if dataset_source(name).by_hand])
def test_what_no_program_can_fetch_is_named_with_its_page(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert prepare(name, "--root", tmp_path / "root", "--from", tmp_path, "--no-lists") == 2
    error, source = capsys.readouterr().err, dataset_source(name)
    assert source.page in error and all(one.names[0] in error for one in source.by_hand)


def test_datasets_do_not_load_heavy_packages_before_they_are_used() -> None:
    program = """
import sys
import fsbench.datamodules.datasets.coco, fsbench.datamodules.datasets.demo.dataset, fsbench.datamodules.datasets.folder
import fsbench.datamodules.datasets.fort, fsbench.datamodules.datasets.pascal
print(*sorted({"torch", "cv2", "polars", "pycocotools", "yaml", "lightning"} & sys.modules.keys()))
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
