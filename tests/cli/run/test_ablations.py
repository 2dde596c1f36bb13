"""Ablation files of DCAMA and HMNet, and the sweeps that run them."""

import pytest
import yaml

from fsbench.base.paths import CONFIGS, REPOSITORY
from fsbench.cli.main import main
from fsbench.results.published.scores import FOLDER as PUBLISHED
from fsbench.runner.config.parse import RunOptions
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.grid.bench import RunConfig
from tests.cli.commands import images_of
from tests.config_words import parse_run

ABLATIONS = sorted((CONFIGS / "ablations" / "dcama").glob("*.yaml"))
OFTEN = ("nshot_vote", "skip_4")
"""Stand for the other files in the quick tests: a way to join shots, and a setting of the method."""
SWEEP = yaml.safe_load((CONFIGS / "sweeps" / "dcama_ablations.yaml").read_text())
SKIPS = {(), (4,), (8,), (16,), (4, 8), (4, 16), (8, 16), (4, 8, 16)}


HMNET = sorted((CONFIGS / "ablations" / "hmnet").glob("*.yaml"))
HMNET_SWEEP = yaml.safe_load((CONFIGS / "sweeps" / "hmnet_ablations.yaml").read_text())


def experiment(small_demo, *extra, method="dcama"):
    few = ("--data.test.episodes=4", "--data.training.validation_episodes=4")
    return Experiment(parse_run(RunConfig(method, "demo", shot=2, extra=(*extra, *images_of(small_demo), *few))))


def test_hmnets_are_the_rows_of_the_papers_table():
    """As the published figures are mapped, a file each, whose first line names the row."""
    rules = yaml.safe_load((PUBLISHED / "mapping.yaml").read_text())["files"]["hmnet.csv"]
    full = rules["methods"]["HMNet"]["options"]
    rows = {name.removeprefix("ablation: "): row for name, row in rules["settings"].items() if "ablation" in name}
    del rows["SMB + SRM recap + QIM share + BAM"]  # the default
    wanted = {name: full | row["options"] for name, row in rows.items()}
    found = {}
    for path in HMNET:
        options = dict(yaml.safe_load(path.read_text())["model"]["init_args"])
        assert options.pop("backbone") == {"name": "dilated_resnet50"}  # not fine-tuned on the base classes
        found[path.read_text().removeprefix("# ").split(": ")[0]] = full | options
    assert found == wanted and len(found) == 7


@pytest.mark.parametrize("dataset", ["pascal", "coco"])
def test_hmnets_keep_the_settings_of_their_data_set(dataset):
    """Size of images and features, length of the training and changes of pictures, also of the five-shot method."""
    expected = {"pascal": (473, 64, 300, "pascal"), "coco": (633, 80, 75, "coco")}[dataset]
    runs = [RunConfig("hmnet", dataset, extra=(f"--config={path}",)) for path in HMNET]
    for run in [*runs, RunConfig("hmnet_5shot", dataset, shot=5)]:
        model, data = run.values["model"]["init_args"], run.values["data"]["init_args"]
        found = data["image_size"], model["feature_side"], run.values["trainer"]["max_epochs"]
        assert (*found, data["training"]["augmentation"]) == expected, run


@pytest.mark.slow(2)
def test_hmnets_can_run_on_the_demo(small_demo):
    options = ("--model.backbone.name=demo", "--data.test.protocol=pfenet")
    folders = {experiment(small_demo, f"--config={path}", *options, method="hmnet").folder for path in HMNET}
    assert len(folders) == len(HMNET)


def test_hmnets_sweep_trains_all():
    assert sorted(HMNET_SWEEP["parameters"]["config"]["values"]) == [str(p.relative_to(REPOSITORY)) for p in HMNET]
    assert "--method=hmnet" in HMNET_SWEEP["command"]


@pytest.fixture(scope="module")
def plain(small_demo):
    return experiment(small_demo)


@pytest.mark.parametrize(
    "path",
    [path if path.stem in OFTEN else pytest.param(path, marks=pytest.mark.slow(1)) for path in ABLATIONS],
    ids=lambda path: path.stem,
)
def test_each_sets_what_it_says(path):
    config = RunConfig("dcama", "demo", shot=2, extra=(f"--config={path}",)).parse(build=False).config
    content = yaml.safe_load(path.read_text())
    if "run" in content:
        assert config.run.nshot_strategy == content["run"]["nshot_strategy"] != RunOptions().nshot_strategy
    else:
        ((key, value),) = content["model"]["init_args"].items()
        found = config.model.init_args[key]
        assert (list(found) if isinstance(found, tuple) else found) == value


@pytest.mark.slow(3)
@pytest.mark.parametrize("name", ["nshot_vote", "skip_none", "skip_4"])
def test_each_is_a_run_of_its_own(name, plain, small_demo):
    """One of how shots are joined, one of the network, and the one that says what the demo's own file says."""
    varied = experiment(small_demo, f"--config={CONFIGS / 'ablations' / 'dcama' / name}.yaml")
    assert (plain.folder == varied.folder) == (name == "skip_4")
    if name == "nshot_vote":
        assert varied.method.nshot_strategy == "vote"
    else:
        assert varied.method.options.skip_scales == (() if name == "skip_none" else (4,))


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
    assert config["model"]["init_args"]["support_background"] == "zero"
    assert config["data"]["init_args"]["test"]["fold"] == 2


@pytest.mark.slow(2)
def test_one_pass_is_what_a_method_does_that_sees_all_shots(plain, small_demo):
    assert experiment(small_demo, "--run.nshot_strategy=one_pass").folder == plain.folder
