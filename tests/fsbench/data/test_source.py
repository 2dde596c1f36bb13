"""Sources that data sets state, and the commands that ask them."""

import re
from pathlib import Path

import pytest

from fsbench.cli.data import _offers
from fsbench.cli.main import main, parser_for
from fsbench.data.source import Source
from fsbench.runner.config.registry import dataset_source, names

PUBLISHED = [name for name in names("data") if dataset_source(name).kind == "published"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_data_set_says_what_to_fetch_and_can_be_prepared_and_checked(name: str) -> None:
    source = dataset_source(name)
    assert _offers(name, "prepare") and _offers(name, "check")
    guide = "\n".join(source.guide)
    assert "http" in guide or name == "cmr"  # whose organisers have no page
    fetched = [archive.name for archive in source.archives]
    assert all(file in guide for file in (*fetched, *(one.names[0] for one in source.by_hand)))
    assert fetched or source.by_hand
    (command,) = (line.split() for line in source.guide if line.startswith("  fsbench "))
    options = parser_for(command[1:]).parse_args(command[1:])
    assert _offers(options.dataset, "prepare") and options.root == "<root>"
    assert (options.source == "DIR") == any(one.place == "DIR" for one in source.by_hand)
    for archive in source.archives:
        assert source.archive(archive.name) is archive and archive.url.startswith("http")
        assert archive.md5 is None or (re.fullmatch("[0-9a-f]{32}", archive.md5) and f"md5 {archive.md5}" in guide)
    assert str(source.missing("no photos; expected some")).splitlines() == [
        "no photos; expected some", *(f"  {line}" for line in source.guide)
    ]  # fmt: skip


def test_the_demos_are_drawn_and_folders_are_the_users() -> None:
    kinds = {name: dataset_source(name).kind for name in names("data") if name not in PUBLISHED}
    assert kinds == {"demo": "drawn", "demo-cls": "drawn", "folder": "own", "imagefolder": "own"}


def test_a_data_set_without_a_source_has_nothing_to_add() -> None:
    assert str(Source().missing("no photos")) == str(Source().missing_lists("no photos")) == "no photos"


MINE = """
from fsbench.datamodules.datasets.folder import Folder

class Mine(Folder):
    @classmethod
    def check(cls, report, root, lists):
        report.ok('folder', f'{root.name} is fine')
"""


def test_the_data_set_of_a_file_is_checked_by_its_own_function(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert main(["data", "check", f"{tmp_path}/mine.py:Mine", "--root", str(tmp_path / "here")]) == 0
    assert "here is fine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("check demo --root x", "there is nothing to check of demo; expected one of aircraft, "),
        ("prepare folder --root x", "there is nothing to prepare of folder; expected one of aircraft, "),
        ("prepare pascall --root x", "did you mean 'pascal'"),
        ("lists pascal --root x --out y", "pascal is for segmentation; expected one of aircraft, cars, "),
    ],
)
def test_names_that_do_not_fit_are_refused_in_a_line(line: str, said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", *line.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
