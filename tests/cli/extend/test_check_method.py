"""`fsbench check-method` as a user calls it."""

import json

import pytest

from fsbench.cli.main import main
from fsbench.runner.config.registry import method_classes

QUICK = "shapes,truth,gradients"


def test_a_line_for_each_check(capsys):
    assert main(["check-method", "prototype", "--only", QUICK]) == 0
    head, *lines, end = capsys.readouterr().out.splitlines()
    assert head == "method prototype, backbone demo, image_size 64, seed 0; random weights, synthetic images"
    assert [line.split()[0] for line in lines] == QUICK.split(",")
    assert lines[2] == "gradients        does not apply  nothing is learned before the episodes (learns = False)"
    assert end == "3 checks, 0 failed"


def test_a_method_that_fails_ends_with_status_1(capsys, monkeypatch):
    (prototype,) = (c for c in method_classes().values() if c.__name__ == "Prototype")
    monkeypatch.setattr(prototype, "forward", lambda self, episode: 1 / 0)
    assert main(["--debug", "check-method", "prototype", "--only", "shapes,truth", "--json"]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["failed"] == 1 and [check["status"] for check in found["checks"]] == ["failed", "does not apply"]
    assert "ZeroDivisionError" in found["checks"][0]["text"] and "expected no error" in found["checks"][0]["text"]
    assert printed.err.count("Traceback") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prototyp"], "did you mean 'prototype'?"),
        (["prototype", "--only", "shape"], "did you mean 'shapes'?"),
        (["prototype", "--size", "63"], "63"),
        (["prototype", "--backbone", "none"], "unknown backbone 'none'"),
    ],
)
def test_bad_input_is_one_line(capsys, words, message):
    assert main(["check-method", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
