"""configs/sweeps: wandb's schema accepts them, and the command that its agent writes is a command of ours."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.runner.config.merge import setting
from fsbench.runner.config.registry import names
from fsbench.runner.config.run_config import run_options
from tests.cli.commands import FEW, images_of

SCHEMA = json.loads((Path(__file__).parent / "sweep_schema.json").read_text())
"""wandb's own: config/schema.json of its package sweeps 0.3.0 (MIT licence), which wants an older numpy than ours."""

SHORT = {option.field: key for option in run_options() if (key := option.key)} | {"fold": "data.test.fold"}
"""Keys of a configuration by the options of a run that set them."""

SWEEPS = sorted((CONFIGS / "sweeps").glob("*.yaml"))


def validator() -> jsonschema.Draft7Validator:
    """As sweeps makes it."""
    checker = jsonschema.FormatChecker()
    checker.checks("float")(lambda value: isinstance(value, float))
    checker.checks("integer")(lambda value: isinstance(value, int))
    return jsonschema.Draft7Validator(SCHEMA, format_checker=checker)


def first_settings(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Return one value of every parameter: the last of its list, the end of its range, or the only one."""
    return {
        name: rule["values"][-1] if "values" in rule else rule.get("max", rule.get("value"))
        for name, rule in sweep["parameters"].items()
    }


def agents_command(sweep: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return the command of an agent on Linux for the settings of one run.

    The macros are those of https://docs.wandb.ai/guides/sweeps/sweep-config-keys, and wandb's own functions
    write the arguments.
    """
    # whose import takes more than a second, which only the process that runs these tests spends
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    run = {"args": {name: {"value": value} for name, value in settings.items()}}
    macros = {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    macros |= create_sweep_command_args(run)
    words = create_sweep_command(list(sweep["command"]))
    known = {f"${{{name}}}": expanded for name, expanded in macros.items()}
    return [word for entry in words for word in known.get(entry, [str(entry)])]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_wandbs_schema_accepts_the_sweep(file):
    assert not list(validator().iter_errors(yaml.safe_load(file.read_text())))


@pytest.mark.parametrize(
    ("key", "value"),
    [("method", "guess"), ("metric", {"goal": "maximize"}), ("parameters", {"x": {"min": "low", "max": 1.0}})],
)
def test_the_schema_refuses_what_is_none(key, value):
    sweep = yaml.safe_load((CONFIGS / "sweeps" / "emat.yaml").read_text())
    assert list(validator().iter_errors(sweep | {key: value}))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_a_trial_is_ended_by_its_best_validation(file):
    """W&B's hyperband judges the one value at its band unless `strict` is false: a trial that leads could end there."""
    sweep = yaml.safe_load(file.read_text())
    rule = {"type": "hyperband", "min_iter": 5, "strict": False}
    assert sweep.get("early_terminate") == (rule if sweep["method"] == "bayes" else None)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_a_sweep_over_folds_ranks_nothing(file):
    """One fold's score would rank settings by which fold they had."""
    sweep = yaml.safe_load(file.read_text())
    folds = sweep["parameters"]["fold"]
    assert ("metric" in sweep) == (len(folds.get("values", [0])) == 1) == (folds.get("value") == 0)


@pytest.mark.slow(1)
def test_several_runs_of_an_agents_call_are_refused(monkeypatch, capsys, bench_arguments, tmp_path):
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setenv("WANDB", "offline")
    assert main(bench_arguments("prototype", tmp_path, "--fold=0,1")) == 2
    said = "an agent of a W&B sweep asked for 2 runs at once, but W&B would keep only the last one"
    assert said in capsys.readouterr().err


def test_every_family_of_methods_has_a_sweep():
    assert {"prototype", "emat", "cst", "hsnet", "dcama", "hmnet", "pspnet"} <= {file.stem for file in SWEEPS}


@pytest.mark.parametrize(
    "file",
    [file if file.stem in ("emat", "prototype") else pytest.param(file, marks=pytest.mark.slow(1))
     for file in SWEEPS if file.stem in names("methods")],
    ids=lambda file: file.stem,
)  # fmt: skip
def test_an_agents_call_is_our_command_line(file, capsys):
    """With one value of every parameter; the data set is the demo, which is there."""
    sweep = yaml.safe_load(file.read_text())
    assert f"--method={file.stem}" in sweep["command"] and sweep["command"][-1] == "${args}"
    assert file.stem == "prototype" or sweep["metric"]["name"] == "val/mIoU"
    assert sweep["method"] == "grid" or {"--data.training.validation=base", "--data.training.validation=images"} & set(
        sweep["command"]
    )
    assert sweep["method"] == "grid" or sweep["parameters"]["fold"] == {"value": 0}
    settings = first_settings(sweep)
    command = agents_command(sweep, settings)
    assert command[:5] == ["/usr/bin/env", "python", "-m", "fsbench", "bench"]
    with pytest.raises(SystemExit) as stopped:
        main([*command[4:], "--dataset=demo", "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    for key, value in settings.items():
        assert setting(config, SHORT.get(key, key)) == value, key


@pytest.mark.slow(20)
def test_an_agents_command_makes_a_run(warm, small_demo, tmp_path):
    """The command of the prototype's sweep, on a few episodes of the demo."""
    sweep = yaml.safe_load((CONFIGS / "sweeps" / "prototype.yaml").read_text())
    settings = first_settings(sweep)
    command = [*agents_command(sweep, settings), "--dataset=demo", *FEW, *images_of(small_demo)]
    assert command[:4] == ["/usr/bin/env", "python", "-m", "fsbench"]
    done = warm(*command[4:])
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    configuration = yaml.safe_load((record.path / "config.yaml").read_text())
    assert {key: setting(configuration, SHORT.get(key, key)) for key in settings} == settings


def test_make_sweep_registers_the_file_and_starts_an_agent():
    def make(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", "-n", "-o", ".venv/.fsbench-installed", "sweep", *words], cwd=REPOSITORY,
                              capture_output=True, text=True)  # fmt: skip

    done = make("METHOD=emat", "COUNT=7")
    assert done.returncode == 0, done.stderr
    assert "wandb sweep --project 'fsbench' 'configs/sweeps/emat.yaml'" in done.stdout
    assert "agent --count '7'" in done.stdout and "WANDB=online" in done.stdout
    missing = make("METHOD=nothing")
    assert missing.returncode != 0 and "no configs/sweeps/nothing.yaml; there are: cst" in missing.stderr
