"""`fsbench data prepare fss1000`, whose archive is fetched by hand."""

import json
from pathlib import Path

import pytest

from fsbench.datamodules.datasets.fss1000 import Fss1000
from tests.datamodules.datasets.fss1000.test_index import save_class
from tests.datamodules.prepare.archives import packed, prepare, times


def test_fss1000_needs_its_archive_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "fss1000"
    assert prepare("fss1000", "--root", root, "--no-lists") == 2
    error = capsys.readouterr().err
    assert "no archive of FSS-1000 in" in error and "Google Drive" in error and "fewshot_data.zip" in error
    for name in ("cup", "axe"):
        save_class(tmp_path / "src/fewshot_data", name)
    (tmp_path / "src/__MACOSX/cup").mkdir(parents=True)
    (tmp_path / "src/__MACOSX/cup/1.jpg").write_bytes(b"x")
    packed(tmp_path / "src", tmp_path / "archives/fewshot_data.zip")
    arguments = ("fss1000", "--root", root, "--from", tmp_path / "archives", "--no-lists")
    assert prepare(*arguments) == 2
    assert "has 2 class folders; expected 1000 with 1 to 10" in capsys.readouterr().err
    assert prepare(*arguments, "--allow-unverified") == 0
    assert "its sha256 is in prepared.json" in capsys.readouterr().out
    assert json.loads((root / "prepared.json").read_text())["fewshot_data.zip"]["checksum"].startswith("sha256 ")
    assert Fss1000(str(root), test_only=True).class_names == ("axe", "cup")
    before = times(root)
    assert prepare(*arguments) == 0
    assert times(root) == before
