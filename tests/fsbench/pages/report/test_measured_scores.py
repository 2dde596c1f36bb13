"""Scores that are measured from stored predictions, on the pages of a report."""

import csv
import json
import re
import shlex

import pytest

from fsbench.cli.main import main
from fsbench.data.rle import decode_rle
from fsbench.datamodules.datasets.folder import Folder
from fsbench.records import predictions


@pytest.fixture
def runs(make, blocks_folder, tmp_path, monkeypatch):
    """The folder of runs of three methods on a fold, of which one has all of the scores."""
    monkeypatch.setattr("fsbench.runner.engine.stored_data.open_dataset", lambda *given: Folder(str(blocks_folder)))
    for name, kept in {"good": "soft", "poor": "masks", "bare": None}.items():
        more = {} if kept is None else {"keep": kept}
        path = make(name, 0, quality=2 + len(more), wrong=4 * (kept == "masks"), **more).path
        (path / "config.yaml").write_text("")
    return tmp_path


@pytest.mark.slow(7)
def test_pages_and_commands_have_the_measured_scores_and_masks_are_decoded_once(runs, capsys, monkeypatch):
    decoded = []

    def counting(way, height, width):
        decoded.append(way)
        return decode_rle(way, height, width)

    monkeypatch.setattr(predictions, "decode_rle", counting)
    assert main(["report", str(runs), "--out", str(runs / "r"), "--metrics", "pixel-ECE,boundary-IoU,mIoU"]) == 0
    folder = runs / "r/study-1"
    assert len(decoded) == 2 * 24
    page = (folder / "index.html").read_text()
    scores = {
        name: set(re.findall(r'data-column="([\w-]+)\.0" class="figure" data-value', line))
        for name, line in re.findall(r'<tr data-method="(\w+)">(.*?)</tr>', page, re.DOTALL)
    }
    assert scores == {
        "good": {"pixel-ECE", "pixel-CE2", "boundary-IoU", "mIoU"},
        "poor": {"boundary-IoU", "mIoU"},
        "bare": {"mIoU"},
    }
    assert re.findall(r'aria-label="Pairs, ([\w-]+)"', page) == ["boundary-IoU", "mIoU"]  # one method has the first
    parts = json.loads(re.search(r'id="differences-data">(.*?)</script>', page, re.DOTALL)[1])
    assert parts["metrics"] == ["boundary-IoU"] and len(parts["parts"]) > 3
    assert "Methods at their boundary-IoU, fold 0;" in page
    lines = csv.DictReader((folder / "comparison.csv").open())
    pairs = [(line["metric"], {line["method"], line["minus"]}) for line in lines]
    assert pairs[0] == ("boundary-IoU", {"good", "poor"})
    assert [metric for metric, _ in pairs[1:]] == ["mIoU"] * 3

    capsys.readouterr()
    commands = [shlex.split(words) for words in set(re.findall(r'data-copy="fsbench ((?:table|compare) [^"]*)"', page))]
    assert len(commands) == 5  # of three methods, of all, and of differences
    for command in commands:
        assert main([*command, "--format", "json"]) == 0
        (block,) = json.loads(capsys.readouterr().out)
        if command[0] == "compare":
            assert list(block["tables"]["all"]) == ["boundary-IoU", "mIoU"]
        else:
            assert "mIoU" in block["rows"][0]["scores"] and "FB-IoU" not in block["rows"][0]["scores"]
