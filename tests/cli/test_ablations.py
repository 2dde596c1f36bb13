"""DCAMA's ablation files and the sweep that runs them."""

import pytest
import yaml

from fsbench.bench import Request
from fsbench.cell import Cell
from fsbench.cli import main
from fsbench.composition import parse
from fsbench.paths import CONFIGS, REPOSITORY

ABLATIONS = sorted((CONFIGS / "ablations" / "dcama").glob("*.yaml"))
SWEEP = yaml.safe_load((CONFIGS / "sweeps" / "dcama_ablations.yaml").read_text())
SKIPS = {(), (4,), (8,), (16,), (4, 8), (4, 16), (8, 16), (4, 8, 16)}


def cell(small_demo, *extra):
    arguments = Request(["dcama"], "demo", [0], shot=2, extra=extra).arguments("dcama", 0)
    folder = ["--data.dataset=datamodules.folder.Folder", f"--data.dataset.root={small_demo}"]
    return Cell(parse([*arguments, *folder, "--data.episodes=4", "--data.validation_episodes=4"]))


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_each_is_a_run_of_its_own(path, small_demo):
    """But for the one that says what the demo's configuration says anyway."""
    plain, varied = cell(small_demo), cell(small_demo, f"--config={path}")
    content = yaml.safe_load(path.read_text())
    if "run" in content:
        assert varied.method.nshot_strategy == content["run"]["nshot_strategy"]
        assert plain.folder != varied.folder
    else:
        ((key, value),) = content["model"]["init_args"].items()
        before, found = (_plain(getattr(method.options, key)) for method in (plain.method, varied.method))
        assert found == value and (plain.folder == varied.folder) == (before == value)


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_all_eight_combinations_of_skips_are_there():
    contents = [yaml.safe_load(path.read_text()) for path in ABLATIONS]
    skips = [c["model"]["init_args"].get("skip_scales") for c in contents if "model" in c]
    assert {tuple(s) for s in skips if s is not None} == SKIPS and len(skips) >= 8


def test_the_sweep_runs_every_ablation_that_needs_training_with_our_command_line(capsys):
    trained = [p for p in ABLATIONS if not p.stem.startswith("nshot_")]
    assert sorted(SWEEP["parameters"]["config"]["values"]) == [str(p.relative_to(REPOSITORY)) for p in trained]
    assert all((REPOSITORY / path).is_file() for path in SWEEP["parameters"]["config"]["values"])
    command = [word for word in SWEEP["command"] if word not in ("${env}", "${args}")]
    assert command[:4] == ["python", "-m", "fsbench", "bench"] and SWEEP["command"][-1] == "${args}"
    path = REPOSITORY / SWEEP["parameters"]["config"]["values"][0]
    with pytest.raises(SystemExit) as stopped:  # wandb puts --name=value in the place of ${args}
        main([*command[3:], f"--config={path}", "--fold=2", "--dataset=demo", "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["init_args"]["support_background"] == "zero" and config["data"]["init_args"]["fold"] == 2


def test_wandb_accepts_the_sweep():
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    assert load_sweep_config(str(CONFIGS / "sweeps" / "dcama_ablations.yaml")) == SWEEP


def test_one_pass_is_for_methods_that_see_all_shots(small_demo, capsys):
    assert cell(small_demo, "--run.nshot_strategy=one_pass").folder == cell(small_demo).folder
    arguments = ["bench", "--method", "emat", "--dataset", "demo", "--run.nshot_strategy", "one_pass"]
    folder = ["--data.dataset=datamodules.folder.Folder", f"--data.dataset.root={small_demo}"]
    assert main([*arguments, *folder]) == 2
    assert "nshot_strategy is one_pass, but emat takes one shot at a time" in capsys.readouterr().err
