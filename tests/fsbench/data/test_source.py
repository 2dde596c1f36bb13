"""Sources that data sets state, and the commands that ask them."""

import re
import sys
from pathlib import Path

import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.data.source import has_module, missing, read_source
from fsbench.runner.config.registry import dataset_package, dataset_source, names

PUBLISHED = [name for name in names("data") if dataset_source(name).kind == "published"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_data_set_says_what_to_fetch_and_can_be_prepared_and_checked(name: str) -> None:
    source, package = dataset_source(name), dataset_package(name)
    assert has_module(package, "prepare") and has_module(package, "check")
    guide = "\n".join(source.guide)
    assert guide and "%" not in guide
    for key, archive in source.archives.items():
        assert key == archive.name and archive.url.startswith("http")
        assert archive.md5 is None or (re.fullmatch("[0-9a-f]{32}", archive.md5) and f"md5 {archive.md5}" in guide)
    assert str(missing("no photos; expected some", package)).splitlines() == [
        "no photos; expected some", *(f"  {line}" for line in source.guide)
    ]  # fmt: skip


def test_the_demos_are_drawn_and_folders_are_the_users() -> None:
    kinds = {name: dataset_source(name).kind for name in names("data") if name not in PUBLISHED}
    assert kinds == {"demo": "drawn", "demo-cls": "drawn", "folder": "own", "imagefolder": "own"}


def test_a_package_without_a_source_is_no_fault() -> None:
    assert read_source("fsbench.data").guide == read_source("").guide == read_source("nowhere.at.all").guide == []


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `mine` with a data set that has a source and a check; its folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]
    read_source.cache_clear()


def test_a_key_that_is_unknown_is_named(mine: Path) -> None:
    (mine / "source.yaml").write_text("kind: own\narchive: {}\n")
    with pytest.raises(SettingsError, match=r"source.yaml: the key 'archive' is unknown; did you mean 'archives'"):
        read_source("mine")


def test_the_data_set_of_a_package_is_checked_by_its_own_file(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (mine / "check.py").write_text("def check(report, root, lists):\n    report.ok('folder', f'{root.name} is fine')\n")
    packages = {"mine": "mine", "demo": "fsbench.datamodules.datasets.demo"}
    monkeypatch.setattr("fsbench.cli.data.names", lambda kind: packages)
    monkeypatch.setattr("fsbench.cli.data.check_known", lambda *names: None)
    monkeypatch.setattr("fsbench.cli.data.dataset_package", packages.__getitem__)
    assert main(["data", "check", "mine", "--root", str(tmp_path / "here")]) == 0
    assert "here is fine" in capsys.readouterr().out
    assert main(["data", "prepare", "demo", "--root", str(tmp_path / "here")]) == 2
    assert "there is nothing to prepare of demo; expected one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("check demo --root x", "there is nothing to check of demo; expected one of aircraft, "),
        ("prepare pascall --root x", "did you mean 'pascal'"),
        ("lists pascal --root x --out y", "pascal is for segmentation; expected one of aircraft, cars, "),
    ],
)
def test_names_that_do_not_fit_are_refused_in_a_line(line: str, said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", *line.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
