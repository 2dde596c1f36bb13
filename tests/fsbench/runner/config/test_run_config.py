"""The options of a run: the same on the command line, in the Makefile and in grids."""

import argparse
import os
import pickle
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pkgutil import resolve_name

import pytest

from fsbench.base.errors import DataError, SettingsError, SeveralErrors, did_you_mean, raise_all
from fsbench.base.paths import REPOSITORY
from fsbench.cli import bench
from fsbench.cli.main import main
from fsbench.networks.weights.table import usual_path, weight_files
from fsbench.runner.config.datasets import usual_protocol
from fsbench.runner.config.merge import setting, shipped_settings
from fsbench.runner.config.registry import names, task_of
from fsbench.runner.config.run_config import RunConfig, run_configs, run_options
from fsbench.runner.grid.spec import grid_schema


def read(*words):
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    bench.add_options(parser)
    return bench.read_runs(*parser.parse_known_args(words))


def test_every_field_but_extra_is_an_option():
    assert {option.field for option in run_options()} == {f.name for f in fields(RunConfig) if f.name != "extra"}
    assert all(option.help for option in run_options())


@pytest.mark.parametrize(
    ("given", "root"), [("a/b", "a/b"), ("demo=a/b", "a/b"), ("demo=x=1", "x=1"), ("lr=1/b", "lr=1/b")]
)
def test_a_folder_of_data_is_named_alone_or_as_for_several_data_sets(given, root):
    (run,) = read("--method=prototype", "--dataset=demo", f"--data-root={given}")
    assert setting(run.values, "data.dataset.root") == root


def test_photos_without_folds_are_tested_by_fixed_supports_unless_a_file_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("data: {init_args: {test: {protocol: hsnet}}}")
    (tmp_path / "there.yaml").write_text("data: {init_args: {dataset: {init_args: {root: photos}}}}")

    def protocol(*extra: str, root: str | None = None) -> str:
        return setting(RunConfig("prototype", "folder", data_root=root, extra=extra).values, "data.test.protocol")

    assert (protocol(), usual_protocol("folder", None)) == ("fscs", None)
    for root in ("data/folder", "photos"):
        (tmp_path / root).mkdir(parents=True)
    assert protocol() == protocol(root="photos") == usual_protocol("folder", None) == "fixed_supports"
    assert protocol("--config=mine.yaml", root="photos") == protocol("--data.test.protocol=hsnet") == "hsnet"
    assert RunConfig("prototype", "folder", extra=("--config=mine.yaml",)).own_protocol is None
    (tmp_path / "data/folder/folds.yaml").touch()
    assert protocol() == "fscs"
    assert protocol("--config=there.yaml") == protocol("--data.dataset.root=photos") == "fixed_supports"


def test_a_run_is_a_value():
    run = RunConfig("emat", "demo", lists=["a"], extra=["--model.x=1"])
    again = RunConfig("emat", "demo", lists=("a",), extra=("--model.x=1",))
    assert run == again and hash(run) == hash(again) and pickle.loads(pickle.dumps(run)) == run


def test_what_is_not_given_stays_the_default():
    assert read() == [RunConfig()]
    given = read("--method=a", "--fold", "2", "--ckpt=x", "--fast", "--lists=u,v", "--seed=0", "--model.width", "3")
    assert given == [
        RunConfig("a", fold=2, checkpoint="x", fast=True, lists=("u", "v"), seed=0, extra=("--model.width", "3"))
    ]


def test_commas_make_several_runs():
    """Protocols are the slowest axis: each has a table."""
    runs = read("--method=a,b", "--fold=0, 2", "--shot=1,5", "--protocol=p,q")
    assert len(runs) == len(set(runs)) == 16
    assert [run.protocol for run in runs] == ["p"] * 8 + ["q"] * 8
    assert {(run.method, run.fold, run.shot) for run in runs} == {
        (m, f, s) for m in "ab" for f in (0, 2) for s in (1, 5)
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--fold=0,x", "--fold is x, expected a whole number, 0 or more"),
        ("--way=0", "--way is 0, expected a whole number, 1 or more"),
        ("--method=,", "no method was named; see: fsbench list"),
        ("--fold=0,1 --ckpt=one.ckpt", "one checkpoint for 2 folds: each fold needs its own"),
    ],
)
def test_values_that_no_run_has(words, message):
    with pytest.raises(SettingsError) as error:
        read(*words.split())
    assert message in str(error.value)


def test_a_checkpoint_for_each_fold(tmp_path):
    for text, expected in (
        ("c/{method}-{fold}.ckpt", "c/emat-1.ckpt"),
        (str(tmp_path), f"{tmp_path}/fold-1/best.ckpt"),
    ):
        runs = run_configs({"fold": [0, 1]}, checkpoint=text)
        assert runs[1].values["run"]["checkpoint"] == expected


def make(*words, check=True, **environment):
    """Return the commands that make would run, without running them or reading the make that runs the tests."""
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
    switches = {option.make_variable for option in run_options() if option.kind is bool}
    assert passed["SWITCHES"] == switches
    assert passed["OPTIONS"] == {option.make_variable for option in run_options()} - switches | {"FORMAT"}


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


def test_a_grid_takes_axes_and_options():
    axes = {option.axis for option in run_options() if option.axis}
    taken = {option.field for option in run_options() if option.grid and not option.axis}
    assert set(grid_schema().model_fields) == {*axes, *taken, "extra", "data_roots", "variants"}
    assert {"backbone", "devices", "fast", "checkpoint"} <= taken and {"methods", "shots", "protocol"} <= axes
    assert not {"runs", "force", "debug", "data_root"} & taken


# What is wrong is said at once, and before torch is imported


@pytest.mark.slow(1)
def test_the_classes_of_data_sets_need_no_torch():
    """The folds of a run are looked up in them."""
    datasets = {
        name: next(m for m in names("methods") if task_of("methods", m) == task_of("data", name))
        for name in names("data")
    }
    kinds = [
        resolve_name(shipped_settings(method, name)["data"]["init_args"]["dataset"]["class_path"])
        for name, method in datasets.items()
    ]
    paths = [f"{cls.__module__}:{cls.__qualname__}" for cls in kinds]
    code = (
        "import sys; from pkgutil import resolve_name; "
        "print([resolve_name(path).__name__ for path in sys.argv[1:]] and 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" and len(paths) > 15


def test_the_usual_path_is_that_of_the_table():
    assert {name: usual_path(name) for name in weight_files()} == {n: file.path for n, file in weight_files().items()}
    assert usual_path("nothing") is None


def test_everything_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    words = "--method emta,prototype --dataset pascl --fold 7 --setting orig --protocol hsne --runs file/runs"
    assert main(["bench", *words.split()]) == 2
    errors = capsys.readouterr().err
    expected = [
        "unknown method 'emta'", "did you mean 'emat'?", "unknown data set 'pascl'", "unknown setting 'orig'",
        "did you mean 'original'?", "unknown protocol 'hsne'", "cannot write to file/runs",
    ]  # fmt: skip
    assert [text for text in expected if text not in errors] == []
    assert errors.count("fsbench: error: ") == 5 and len(list(tmp_path.iterdir())) == 1


BEFORE_TORCH = {
    "--method prototype --fold 4": "unknown fold 4 for demo; it has folds 0 to 3",
    "--method prototype --dataset pascal --data-root . --weights random --way 6": "way 6 is more than the 5 classes",
    "--method fort --dataset demo-cls --fold 1": "classification has no folds, only 0",
    "--method fort --dataset demo": "fort is a method of classification",
    "--method prototype --protocol hsnet --way 2": "protocol hsnet is 1-way, found way 2",
    "--method prototype --protocol hsnet --setting 0-5": "protocol hsnet has no setting '0-5'",
    "--method prototype --protocol hsne": "did you mean 'hsnet'?",
    "--method prototype --backbone dino_vits": "did you mean 'dino_vits8'?",
    "--method prototype --runs file/runs": "cannot write to file/runs (Not a directory)",
    "--method prototype --metod x": "unrecognized arguments: --metod; did you mean '--method'?",
}


def test_before_torch_is_imported(tmp_path):
    """In a process of its own, which has imported nothing before."""
    (tmp_path / "file").touch()
    code = (
        "import sys; from fsbench.cli.main import main; "
        "print([main(['bench', *words.split()]) for words in sys.argv[1:]], 'torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, *BEFORE_TORCH]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("fsbench: error: ")]
    assert len(errors) == len(BEFORE_TORCH) and "Traceback" not in done.stderr
    assert [(e, line) for e, line in zip(BEFORE_TORCH.values(), errors, strict=True) if e not in line] == []
    assert done.stdout == f"{[2] * len(BEFORE_TORCH)} False\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method prototype --ckpt a.ckpt", "no checkpoint at a.ckpt"),
        ("--method prototype --dataset pascal --data-root nowhere --data.test.wey 2", "did you mean --data.test.way?"),
    ],
)
def test_missing_files_are_told_with_what_else_is_wrong(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_one_error_is_itself():
    raise_all([])
    with pytest.raises(DataError, match="a"):
        raise_all([DataError("a")])
    with pytest.raises(SeveralErrors) as raised:
        raise_all([DataError("a"), SettingsError("b")])
    assert [str(error) for error in raised.value.errors] == ["a", "b"]
    assert did_you_mean("emta", ["emat", "cst"]) == "; did you mean 'emat'?" and did_you_mean("x", ["emat"]) == ""
    labels = ["emat (seed 1)", "emat (seed 2)", "runs: cst", "cst (support_annotation box)"]
    assert did_you_mean("emt", labels) == "; did you mean 'emat (seed 1)' or 'emat (seed 2)'?"
    assert did_you_mean("CTS", labels) == "; did you mean 'runs: cst' or 'cst (support_annotation box)'?"
