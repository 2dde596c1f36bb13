"""The options of a request: the same on the command line, in the Makefile and in grids."""

import argparse
import os
import re
import shlex
import subprocess
from dataclasses import fields

import pytest

from fsbench.config.request import Request, add_bench_options, bench_options, read_request
from fsbench.errors import SettingsError, raise_all
from fsbench.grid.spec import AXES, grid_schema
from fsbench.paths import REPOSITORY


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


def test_the_makefile_passes_every_option():
    text = (REPOSITORY / "Makefile").read_text().replace("\\\n", " ")
    passed = {
        name: set(re.search(rf"^override {name} *:= (.*)$", text, re.MULTILINE)[1].split())
        for name in ("OPTIONS", "SWITCHES")
    }
    switches = {option.make_variable for option in bench_options() if option.kind is bool}
    assert passed["SWITCHES"] == switches
    assert passed["OPTIONS"] == {option.make_variable for option in bench_options()} - switches | {"FORMAT"}


def test_make_variables_become_options():
    words = ["METHOD=emat", "DATA_ROOT=a b", "DROP_SMALL=1", "FAST=no", "SHOT=5"]
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.fsbench-installed", "bench", *words], cwd=REPOSITORY, capture_output=True,
        text=True, check=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip  # nothing of the make that runs the tests
    called = done.stdout.partition("fsbench bench")[2].split()
    assert called == ["--method", "'emat'", "--dataset", "'demo'", "--shot", "'5'", "--data-root", "'a", "b'",
                      "--drop-small"]  # fmt: skip


def test_make_passes_a_quote_as_a_character():
    """A variable of make is passed on as one word and never run as a command."""
    words = ["METHOD=a'; touch trapped; echo '", "DATASET=$(touch trapped)"]
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.fsbench-installed", "bench", *words], cwd=REPOSITORY, capture_output=True,
        text=True, check=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    called = shlex.split(done.stdout.partition("fsbench bench")[2])
    assert called == ["--method", "a'; touch trapped; echo '", "--dataset", "$(touch trapped)"]


def test_make_runs_nothing_that_a_variable_holds(tmp_path):
    """Neither make itself, nor on the way to the programs that it calls, which get the variable as it is."""
    makefile, trap = REPOSITORY / "Makefile", "$(shell touch trapped)`touch trapped`"
    names = (
        re.search(r"^override OPTIONS  := (.*?[^\\])$", makefile.read_text(), re.S | re.M)[1].replace("\\", "").split()
    )
    assert {"METHOD", "DATA_ROOT", "RUNS"} < set(names)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/.fsbench-installed").touch()

    def make(*words, **environment):
        command = ["make", "-f", str(makefile), "-o", "venv/.fsbench-installed", "-n", "VENV=venv", *words]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **environment}
        )
        assert [path.name for path in tmp_path.iterdir()] == ["venv"], words
        return done

    called = shlex.split(make("bench", *(f"{name}={trap}" for name in names)).stdout.partition("fsbench bench")[2])
    assert called.count(trap) == len(called) / 2 >= len(names) - 1
    assert make("bench", METHOD=trap).stdout.count(trap) == 1
    for name in ("ARGS", "NAMES", "PAPER", "CASES", "COUNT", "JOBS", "PYTHON", "VENV", "PIP_ARGS", "HASHES"):
        done = make("bench", f"{name}={trap}")
        assert done.returncode == 2 and f"{name} is '{trap}', expected words without $" in done.stderr
    make("bench", f"WANDB_MODE={trap}", f"UNKNOWN={trap}", f"BIN={trap}", f"quoted={trap}", f"PYTHON={trap}")
    make("bench", f"WANDB_MODE={trap}", f"MAKE_X={trap}")
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").write_text('#!/bin/sh\nprintf \'%s\\n\' "$*" "$METHOD" "$OMP_X" > venv/got\n')
    (tmp_path / "venv/bin/python").chmod(0o755)
    command = [
        "make",
        "-f",
        str(makefile),
        "-o",
        "venv/.fsbench-installed",
        "VENV=venv",
        "bench",
        f"METHOD={trap}",
        "OMP_X=1",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]})
    called, method, passed_on = (tmp_path / "venv/got").read_text().splitlines()
    assert f"--method {trap} " in called and method == trap and passed_on == "1" and not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(("switch", "is_on"), [("1", True), ("TRUE", True), ("", False), ("no", False)])
def test_make_takes_switches(switch, is_on):
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.fsbench-installed", "bench", f"FAST={switch}"], cwd=REPOSITORY,
        capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert ("--fast" in done.stdout) == is_on


@pytest.mark.parametrize("switch", ["yess", "2", "1 1", "-"])
def test_make_refuses_what_is_no_switch(switch):
    done = subprocess.run(
        ["make", "-n", "bench", f"FAST={switch}"], cwd=REPOSITORY, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 2 and f"FAST is '{switch}', expected 1 or 0" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bench", "METHD=prototype"], "unknown variable: METHD (did you mean METHOD?); there are: METHOD DATASET"),
        (["bench", "METHOD=emat", "fold=1"], "unknown variable: fold (did you mean FOLD?); there are"),
        (["bench", "Q'; touch trapped; '=1", "XYZW=2"], "XYZW"),
        (["weights", "NAME=dinov2_vits14"], "unknown variable: NAME (did you mean NAMES?)"),
    ],
)
def test_make_refuses_unknown_variables(words, expected, tmp_path):
    done = subprocess.run(
        ["make", "-n", "-f", str(REPOSITORY / "Makefile"), *words], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 2 and expected in done.stderr and not list(tmp_path.iterdir())


def test_make_passes_variables_of_programs_on():
    words = ["METHOD=emat", "FSBENCH_CACHE=/x", "OMP_NUM_THREADS=1", "WANDB=offline", "VENV=.venv"]
    subprocess.run(
        ["make", "-n", "-o", ".venv/.fsbench-installed", "bench", *words], cwd=REPOSITORY, capture_output=True,
        text=True, check=True, env={"PATH": os.environ["PATH"], "METHD": "of the environment"},
    )  # fmt: skip


def test_a_grid_takes_the_options_that_are_no_axis():
    taken = {f.name for f in fields(Request) if f.metadata["grid"] and f.metadata["axis"] is None}
    assert set(grid_schema().model_fields) == {*AXES, *taken, "data_roots", "variants"}
    assert {"backbone", "protocol", "devices", "fast", "checkpoint", "extra"} <= taken
    assert not {"runs", "force", "debug", "data_root"} & taken
