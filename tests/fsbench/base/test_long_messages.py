"""Messages are of one length, whatever a file holds: names, run lengths and numbers without end."""

import json

import pytest

from fsbench.base.errors import DataError, FsbenchError, SettingsError, exit_status, known_names, user_message
from fsbench.base.terminal import LONGEST, one_line, shorten
from fsbench.cli.main import main
from fsbench.data.coco_json import read_instances
from fsbench.datamodules.datasets.folder import Folder


@pytest.mark.parametrize("text", ["x" * 5000, "\x1b" * 900, "é" * 1499, "\U000e0001" * 5000, "short", ""], ids=range(6))
def test_a_line_has_an_end(text, capsys):
    """An escape of a character is up to ten characters, and counts."""
    assert len(one_line(text)) <= LONGEST and len(one_line(text, 60)) <= 60
    error = FsbenchError(f"{text} at the start", f"  and {text} below")
    for shown in (str(error), user_message(error)):
        assert all(len(line) <= LONGEST + 2 for line in shown.splitlines())
    assert str(error).endswith(" below") and user_message(error).endswith(" below")  # the middle is left out

    def fail() -> int:
        raise error

    assert exit_status(fail, debug=False) == 2
    assert max(map(len, capsys.readouterr().err.splitlines())) <= LONGEST + 20


def test_what_is_short_enough_stays():
    text = "a" * LONGEST
    assert shorten(text) == text and str(DataError(text)) == text and one_line(text) == text
    assert len(shorten(text + "b")) == LONGEST and shorten(text + "b").endswith("b")
    assert len(str(SettingsError(f"unknown{known_names('x', [f'name{n}' for n in range(5000)])}"))) == LONGEST


LONG = "tree" * 2000


@pytest.mark.parametrize(
    "entries",
    [
        {"classes": LONG},
        {"classes": [LONG, 3.5]},
        {"classes": [[LONG]]},
        {"classes": ["a"], "folds": LONG},
        {"classes": ["a"], "folds": [[LONG]]},
        {"classes": ["a"], "folds": [["a"]], LONG: 1},
    ],
    ids=range(6),
)
def test_names_in_a_description_of_classes_are_cut(tmp_path, entries, capsys):
    (tmp_path / "folds.yaml").write_text(json.dumps(entries))
    with pytest.raises(DataError) as error:
        Folder(str(tmp_path))
    first = str(error.value).splitlines()[0]
    assert len(first) <= LONGEST and str(tmp_path) in first and "expected" in first
    assert main(["data", "check", "folder", "--root", str(tmp_path)]) == 1
    assert max(map(len, capsys.readouterr().out.splitlines())) <= LONGEST + 60


def test_numbers_of_an_annotation_file_are_cut(tmp_path):
    image = {"id": 1, "file_name": LONG, "height": 0, "width": 5}
    (tmp_path / "instances.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    with pytest.raises(DataError) as error:
        read_instances(tmp_path / "instances.json", "0", ["tree"])
    assert len(str(error.value)) <= LONGEST and "expected" in str(error.value)
