"""configs/sweeps: wandb accepts them, and what an agent would call is our command line."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.cli.main import main
from fsbench.runner.config.registry import names

SCHEMA = json.loads((Path(__file__).parent / "sweep_schema.json").read_text())
"""wandb's own: config/schema.json of its package sweeps 0.3.0 (MIT licence), which wants an older numpy than ours."""

SWEEPS = sorted((CONFIGS / "sweeps").glob("*.yaml"))


def validator() -> jsonschema.Draft7Validator:
    """As sweeps makes it."""
    checker = jsonschema.FormatChecker()
    checker.checks("float")(lambda value: isinstance(value, float))
    checker.checks("integer")(lambda value: isinstance(value, int))
    return jsonschema.Draft7Validator(SCHEMA, format_checker=checker)


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


def test_every_family_of_methods_has_a_sweep():
    assert {"prototype", "emat", "cst", "hsnet", "dcama", "hmnet", "pspnet"} <= {file.stem for file in SWEEPS}


@pytest.mark.parametrize("file", [f for f in SWEEPS if f.stem in names("methods")], ids=lambda file: file.stem)
def test_an_agents_call_is_our_command_line(file, capsys):
    """With one value of every parameter; the data set is the demo, which is there."""
    sweep = yaml.safe_load(file.read_text())
    assert sweep["command"][:5] == ["${env}", "python", "-m", "fsbench", "bench"] and sweep["command"][-1] == "${args}"
    assert f"--method={file.stem}" in sweep["command"]
    assert sweep["metric"]["name"] == ("test/mIoU" if file.stem == "prototype" else "val/mIoU")
    assert sweep["method"] == "grid" or {"--data.validation=base", "--data.validation=images"} & set(sweep["command"])
    assert sweep["method"] == "grid" or sweep["parameters"]["fold"] == {"value": 0}
    chosen = {
        key: rule["values"][-1] if "values" in rule else rule.get("max", rule.get("value"))
        for key, rule in sweep["parameters"].items()
    }
    fixed = [word for word in sweep["command"][4:-1] if not word.startswith("--dataset")]
    with pytest.raises(SystemExit) as stopped:
        main([*fixed, "--dataset=demo", *(f"--{key}={value}" for key, value in chosen.items()), "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    for key, value in chosen.items():
        group, _, name = key.rpartition(".")
        assert config[group or "data"]["init_args"][name] == value, key


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
