"""`fsbench list`, `--print_config`, and that every configuration can be built."""

import pytest
import yaml

from fsbench.catalogue import config_files, names
from fsbench.cli import main
from fsbench.composition import parse


def test_list_names_what_there_is(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for word in (
        "emat ",
        "emat_seg",
        "cst ",
        "cst_large",
        "cst_original",
        "prototype",
        "pascal",
        "coco",
        "folder",
        "demo",
        "fscs",
    ):
        assert f"  {word}" in printed
    assert "CST*" in printed
    assert "  ROM " in printed and "  class-error " in printed


def test_print_config_shows_everything(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--method", "cst", "--dataset", "demo", "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["init_args"]["learning_rate"] == 1e-3
    assert config["data"]["init_args"]["dataset"]["class_path"] == "datamodules.demo.Demo"
    assert config["trainer"]["max_epochs"] and config["seed_everything"] == 0


@pytest.mark.parametrize("method", names("methods"))
def test_paper_settings_of_every_method(method, small_demo):
    """The configuration of the official data sets, with the data and the weights that are at hand."""
    configs = [f"--config={path}" for path in config_files(method, "folder")]
    cli = parse([*configs, f"--data.dataset.root={small_demo}", "--model.backbone.weights=random"])
    trainable = sum(p.numel() for p in cli.model.parameters())
    expected = {
        "emat": 86_020,
        "emat_seg": 74_098,
        "prototype": 0,
        "dcama": 5_073_394,
        "dcama_resnet50": 14_215_394,
        "dcama_resnet101": 14_222_194,
        "hsnet": 2_573_794,
    }
    sizes = {"cst_original": 400, "dcama": 384, "hsnet": 400}
    batches = {"cst": 12, "cst_original": 12, "dcama": 12, "hsnet": 20}
    epochs = {"cst_original": 2000, "dcama": 1000, "hsnet": 2000}
    family = method.split("_resnet")[0]
    if method != "hsnet_resnet101":
        assert trainable == expected.get(method, 366_004)
    assert cli.datamodule.image_size == sizes.get(family, 700)
    if method != "prototype":
        assert cli.datamodule.batch_size == batches.get(family, 9)
        assert cli.config["trainer"].max_epochs == epochs.get(family, 80)
