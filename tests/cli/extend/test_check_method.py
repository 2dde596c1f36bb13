"""`fsbench check-method` as a user calls it, and on methods of the suite."""

import json

import pytest

from fsbench.cli.main import main
from fsbench.config.registry import method_classes, names
from fsbench.contract.suite import CHECKS, build_subject, run_check

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


METHODS = (
    "prototype", "emat", "emat_seg", "cst", "cst_large", "cst_original", "dcama", "hsnet", "hmnet", "nn",
    "svm", "lp", "ridge", "protonet", "r2d2", "metaoptnet", "ft", "vpt", "lora", "ssf", "fort", "fort_lora",
    "fort_ssf", "insid3", "fssdino", "linear_probe_dense", "lora_probe_dense", "seggpt", "matcher",
    "gf_sam", "persam", "persam_f", "sam3_canvas", "sam3_canvas_names", "bam", "pfenet", "blind_saliency",
    "blind_centre", "blind_full",
)  # fmt: skip
ALWAYS = ("emat", "cst", "dcama", "hsnet", "hmnet")
"""One of each family that is trained, seconds each: `tests/methods` leaves to these checks what they see."""
WHOLE = (*ALWAYS, "prototype", "nn", "protonet", "fort_lora", "insid3", "seggpt", "matcher", "persam_f", "pfenet")
"""One of each family, which every check is run for; the others have the quick form."""
QUICK_FORM = ("shapes", "ways-and-shots", "empty-supports", "batch", "truth", "checkpoint", "gradients", "overfit")
"""Checks of what a method's own code decides. Those of `batch` and `checkpoint` compare answers to the bit as well."""
SMALL = ("width=32", "feature_side=16", "blocks=2", "states=4")
LARGE = {
    "pspnet": ((), ("shapes", "truth", "gradients", "overfit")),
    "diam": (["--model.iterations=3"], ("shapes", "ways-and-shots", "truth", "empty-supports")),
    "bam_5shot": (["--model.width=32"], ("shapes", "ways-and-shots", "truth")),
    "vrp_sam": ((), ("shapes", "ways-and-shots", "truth", "batch", "determinism", "checkpoint", "gradients")),
    "sansa": ((), ("shapes", "ways-and-shots", "truth", "checkpoint", "gradients")),
    "sansa_generalist": ((), ("shapes", "ways-and-shots", "truth")),
    "hmnet_5shot": ([f"--model.{setting}" for setting in SMALL], ("shapes", "ways-and-shots", "truth")),
}
"""Options and quick checks of VRP-SAM, SANSA and the methods without a configuration for the demo.

The second trains on the base classes of its base learner alone, and synthetic episodes have others. The demos of
VRP-SAM and SANSA have a SAM of random weights, with which no batch can be learned by heart.
"""
ONE_EPOCH = ("ft", "vpt", "lora", "ssf", "fort", "fort_lora", "fort_ssf")
"""Those that tune a network in each episode."""
FEW_STEPS = {"lora_probe_dense": ["--model.tuning_steps=1"], "persam_f": ["--model.steps=2"]}
CROSSING = ("another-process", "memory")
"""Checks that start a process, or take many episodes."""


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in METHODS]
)
def test_methods_keep_the_contract(method):
    extra = ["--model.epochs=1"] if method in ONE_EPOCH else FEW_STEPS.get(method, [])
    subject = build_subject(method, extra=extra)
    names = [name for name in CHECKS if name not in CROSSING] if method in WHOLE else QUICK_FORM
    found = [run_check(name, subject) for name in names]
    assert [outcome for outcome in found if outcome.status == "failed"] == []
    learned = {"gradients", "overfit"}
    applies = {outcome.check for outcome in found if outcome.status == "ok"}
    assert {"shapes", "ways-and-shots", "truth", "batch", "checkpoint"} <= applies
    assert method not in WHOLE or "determinism" in applies
    assert applies & learned == (learned if subject.method.learns else set())


@pytest.mark.slow
@pytest.mark.parametrize("method", LARGE)
def test_large_methods_keep_some_of_it(method):
    options, checks = LARGE[method]
    subject = build_subject(method, extra=options)
    assert [found for name in checks if (found := run_check(name, subject)).status == "failed"] == []


def test_every_method_of_the_suite_is_checked():
    assert sorted([*METHODS, *LARGE]) == list(names("methods"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prototype", "emat"])
def test_methods_cross_processes_and_keep_memory_flat(method):
    subject = build_subject(method, memory_episodes=60)
    for name in CROSSING:
        outcome = run_check(name, subject)
        assert outcome.status == "ok", outcome
