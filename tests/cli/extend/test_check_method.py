"""`fsbench check-method` as a user calls it."""

import json

import pytest

from fsbench.cli.main import main
from fsbench.runner.config.registry import method_classes

QUICK = "truth,shapes,gradients"
CHEAT = """
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.networks.backbones.base import BackboneConfig

class Cheat(Segmenter):
    learns = False

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)

    def forward(self, episode):
        return Prediction(episode.truth.label_maps[0].long())
"""


@pytest.mark.slow(1)
def test_a_line_for_each_check(capsys):
    assert main(["check-method", "prototype", "--only", QUICK]) == 0
    head, *lines, end = capsys.readouterr().out.splitlines()
    assert head == "method prototype, backbone demo, image_size 64, seed 0; random weights, synthetic images"
    assert [line.split()[0] for line in lines] == QUICK.split(",")
    assert lines[2] == "gradients        does not apply  nothing is learned before the episodes (learns = False)"
    assert end.startswith("3 checks, 0 failed; no check finds")


def test_a_method_that_fails_ends_with_status_1(capsys, monkeypatch):
    (prototype,) = (c for c in method_classes().values() if c.__name__ == "Prototype")
    monkeypatch.setattr(prototype, "forward", lambda self, episode: 1 / 0)
    assert main(["--debug", "check-method", "prototype", "--only", "shapes,truth", "--json"]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["failed"] == 1 and [check["status"] for check in found["checks"]] == ["does not apply", "failed"]
    assert "ZeroDivisionError" in found["checks"][1]["text"] and "expected no error" in found["checks"][1]["text"]
    assert printed.err.count("Traceback") == 1


@pytest.mark.slow(1)
def test_a_method_of_a_file_that_reads_the_truth(tmp_path, capsys):
    (tmp_path / "cheat.py").write_text(CHEAT)
    assert main(["check-method", f"{tmp_path / 'cheat.py'}:Cheat", "--only", QUICK]) == 1
    _, first, *others, end = capsys.readouterr().out.splitlines()
    assert first.startswith("truth            failed") and "asks for the truth (cheat.py, line 13)" in first
    assert all("the check truth fails, and so this one tells nothing" in line for line in others)
    assert end.startswith("3 checks, 1 failed; no check finds")


@pytest.mark.slow
def test_a_method_of_a_file_is_built_in_another_process(tmp_path, capsys):
    empty = CHEAT.replace(
        "episode.truth.label_maps[0].long()", "episode.query_sizes.new_zeros(*episode.query_sizes[0])"
    )
    (tmp_path / "mine.py").write_text(empty)
    assert main(["check-method", f"{tmp_path / 'mine.py'}:Cheat", "--only", "another-process"]) == 0
    assert "equal bits of 2 episodes in a spawned process" in capsys.readouterr().out
