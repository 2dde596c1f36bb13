"""The options of a request: the same on the command line, in the Makefile and in grids."""

import argparse
import os
import re
import shlex
import subprocess
from dataclasses import fields

import pytest

from fsbench.base.errors import SettingsError, raise_all
from fsbench.base.paths import REPOSITORY
from fsbench.runner.config.request import Request, add_bench_options, bench_options, read_request
from fsbench.runner.grid.spec import AXES, grid_schema


def read(*words):
    parser = argparse.ArgumentParser()
    add_bench_options(parser)
    request, errors = read_request(*parser.parse_known_args(words))
    raise_all(errors)
    return request


def test_every_field_but_extra_is_an_option():
    assert [option.field for option in bench_options()] == [f.name for f in fields(Request) if f.name != "extra"]
    assert all(option.help for option in bench_options())


def test_what_is_not_given_stays_the_default():
    assert read() == Request()
    given = read(
        "--method=a,b", "--fold", "0, 2", "--ckpt=x", "--fast", "--lists=u,v", "--seed=0", "--model.width", "3"
    )
    assert given == Request(
        ("a", "b"), folds=(0, 2), checkpoint="x", fast=True, lists=("u", "v"), seed=0, extra=("--model.width", "3")
    )
    with pytest.raises(SettingsError, match="fold is '0,x', expected a number"):
        read("--fold=0,x")


def make(*words, check=True, **environment):
    """What make would run, without running it, and nothing of the make that runs the tests."""
    command = ["make", "-n", "-o", ".venv/.fsbench-installed", "VENV=.venv", *words]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=check, env=environment)


def bench_words(*words, **environment):
    return shlex.split(make("bench", *words, **environment).stdout.partition("fsbench bench")[2])


def test_the_makefile_passes_every_option():
    text = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    passed = {
        name: set(re.search(rf"^{name} *:= (.*)$", text, re.MULTILINE)[1].split()) for name in ("OPTIONS", "SWITCHES")
    }
    switches = {option.make_variable for option in bench_options() if option.kind is bool}
    assert passed["SWITCHES"] == switches
    assert passed["OPTIONS"] == {option.make_variable for option in bench_options()} - switches | {"FORMAT"}


def test_make_variables_become_options():
    """Each is one word; a quote in it, which a path may have, is a character."""
    words = bench_words("METHOD=emat", "DATA_ROOT=a b", "RUNS=it's; touch trapped", "DROP_SMALL=1", "FAST=no", SHOT="5")
    assert words == ["--method", "emat", "--dataset", "demo", "--shot", "5", "--data-root", "a b",
                     "--runs", "it's; touch trapped", "--drop-small"]  # fmt: skip


@pytest.mark.parametrize(("switch", "is_on"), [("1", True), ("true", True), ("", False), ("no", False)])
def test_make_takes_switches(switch, is_on):
    assert ("--fast" in bench_words(f"FAST={switch}")) == is_on


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bench", "FAST=yess"], "FAST is 'yess', expected 1 or 0"),
        (["bench", "METHD=prototype"], "unknown variable: METHD; there are: METHOD DATASET"),
        (["bench", "METHOD=emat", "fold=1"], "unknown variable: fold; there are"),
        (["weights", "NAME=dinov2_vits14"], "unknown variable: NAME; there are"),
    ],
)
def test_make_refuses_what_it_does_not_know(words, expected):
    done = make(*words, check=False)
    assert done.returncode == 2 and expected in done.stderr


def test_make_passes_variables_of_programs_on():
    words = ["FSBENCH_CACHE=/x", "OMP_NUM_THREADS=1", "WANDB=offline"]
    assert bench_words("METHOD=emat", *words, METHD="of the environment") == bench_words("METHOD=emat")


def test_a_grid_takes_the_options_that_are_no_axis():
    taken = {f.name for f in fields(Request) if f.metadata["grid"] and f.metadata["axis"] is None}
    assert set(grid_schema().model_fields) == {*AXES, *taken, "data_roots", "variants"}
    assert {"backbone", "protocol", "devices", "fast", "checkpoint", "extra"} <= taken
    assert not {"runs", "force", "debug", "data_root"} & taken
