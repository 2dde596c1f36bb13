"""Names of classes: the present ones, and those that configurations gave them before."""

from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from fsbench.base.paths import CONFIGS
from fsbench.runner.config.build import parse
from fsbench.runner.config.class_paths import MOVED, current_path, with_current_paths
from fsbench.runner.config.compose import compose
from fsbench.runner.config.registry import read_settings


@pytest.mark.parametrize(
    ("given", "current"),
    [
        ("methods.emat.EMAT", "fsbench.methods.emat.EMAT"),
        ("methods.hmnet.BaseLearner", "fsbench.methods.hmnet.BaseLearner"),
        ("methods.hmnet.hmnet.HMNet", "fsbench.methods.hmnet.hmnet.HMNet"),
        ("datamodules.datasets.fine_grained.Cub", "fsbench.datamodules.datasets.cub.Cub"),
        ("fsbench.backbones.base.BackboneConfig", "fsbench.networks.backbones.base.BackboneConfig"),
    ],
)
def test_a_former_name_is_the_same_class(given, current):
    assert current_path(given) == current == current_path(current)
    assert isinstance(resolve_name(current), type)


@pytest.mark.parametrize(
    "given",
    ["methods.theirs.Theirs", "datamodules.Theirs", "datamodules.datasets.theirs.Theirs",
     "datamodules.datasets.Theirs", "methods.emat.Theirs", "methods", "methods.", "",
     "methods.emat.EMAT\n", "methods/../emat.EMAT", "theirs.methods.emat.EMAT", "fsbench.backbones.base.Theirs",
     "torch.optim.SGD"],
)  # fmt: skip
def test_another_name_stays(given):
    assert current_path(given) == given


@pytest.mark.parametrize("new", MOVED.values())
def test_a_data_set_is_where_the_table_of_moved_ones_says(new):
    assert resolve_name(new).__name__ == new.rpartition(".")[2]


def test_every_name_of_the_configurations_is_the_present_one():
    for file in CONFIGS.rglob("*.yaml"):
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert with_current_paths(values) == values, file


def test_former_names_in_files_and_arguments_are_read(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "data: {init_args: {dataset: {class_path: datamodules.datasets.folder.Folder, init_args: {root: x}}}}\n"
    )
    assert read_settings(file)["data"]["init_args"]["dataset"]["class_path"] == (
        "fsbench.datamodules.datasets.folder.Folder"
    )
    for argument in ("--model=methods.prototype.Prototype", "--model.class_path=methods.prototype.Prototype"):
        files = [CONFIGS / "base.yaml", CONFIGS / "methods" / "emat.yaml", file]
        given = [f"--config={path}" for path in files] + [argument, "--model.backbone.name=dinov2_vits14"]
        assert compose(given).values["model"]["class_path"] == "fsbench.methods.prototype.Prototype"
        config = parse(given, build=False).config
        assert config.model.class_path == "fsbench.methods.prototype.Prototype"
        assert config.data.class_path == "fsbench.datamodules.episodic.EpisodicDataModule"
