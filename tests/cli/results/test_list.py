"""`fsbench list`, `--print_config`, and that every configuration can be built."""

import pytest
import yaml

from fsbench.cli.main import main
from fsbench.protocols.reading import protocol_names
from fsbench.runner.config.registry import aliases, config_files, names, task_of
from tests.config_words import parse


def test_list_names_what_there_is_and_keeps_the_kinds_apart(command):
    status, printed, _ = command("list")
    assert status == 0
    words = "emat prototype cst_original dcama_resnet50 fort nn pascal coco folder demo fscs swin_base ROM class-error"
    for word in words.split():
        assert f"  {word} " in printed, word
    assert "CST*" in printed
    masks, images = printed.split("classification, methods:")
    assert "  fort " not in masks and "  emat " not in images


@pytest.mark.parametrize(("columns", "heads"), [(120, 5), (80, 3)])
def test_list_protocols_has_a_line_for_each(command, monkeypatch, columns, heads):
    monkeypatch.setenv("COLUMNS", str(columns))
    status, printed, _ = command("list", "protocols")
    _, rule, *lines = printed.split("\n\n")[0].splitlines()
    assert status == 0 and len(rule.split()) == heads and max(map(len, printed.splitlines())) <= columns
    assert [line.split()[0] for line in lines] == protocol_names()
    hsnet = next(line for line in lines if line.startswith("hsnet "))
    assert hsnet.split()[1] == "1" and hsnet.endswith("  the query shows the class, compared at the input's size")
    assert heads == 3 or "  pascal, coco +2   hsnet, abcdfss +19  " in hsnet


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nn", "'nn' is a method, not a protocol; nn is tested under fort: give --protocol fort"),
        ("emat_seg", "'emat_seg' is a method, not a protocol; emat_seg is tested under fscs: give --protocol fscs"),
        ("hsnet_vgg16", "hsnet_vgg16 is tested under hsnet: give --protocol hsnet"),
        ("hmnet", "'hmnet' is a method, not a protocol; hmnet is tested under pfenet: give --protocol pfenet"),
        ("dcsam", "give --protocol atlas:dc-sam/coco-20i or atlas:dc-sam/pascal-5i"),
    ],
)
def test_the_name_of_a_method_or_a_program_leads_to_its_protocol(command, name, said):
    status, _, errors = command("bench", "--method=prototype", "--dataset=demo", "--dry-run", "--protocol", name)
    assert status == 2 and said in errors


def test_print_config_shows_everything(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--method", "cst", "--dataset", "demo", "--print_config"])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["init_args"]["learning_rate"] == 1e-3
    assert config["data"]["init_args"]["dataset"]["class_path"] == "fsbench.datamodules.datasets.demo.Demo"
    assert config["trainer"]["max_epochs"] and config["seed_everything"] == 0


SEGMENTERS = [name for name in names("methods") if task_of("methods", name) == "segmentation"]
SEGMENTERS += [name for name, choice in aliases().items() if task_of("methods", choice.method) == "segmentation"]
OFTEN = ("emat", "prototype", "hsnet", "sansa", "dcama_resnet50")
"""One of each family, and an alias."""


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow(2)) for name in SEGMENTERS]
)
def test_paper_settings_of_every_method(method, small_demo):
    """The configuration of the official data sets, with the data and the weights that are at hand."""
    configs = [f"--config={path}" for path in config_files(method, "folder")]
    other = ["--data.test.protocol=fscs"] if method == "alpnet" else []  # its own is one of scans
    cli = parse([*configs, f"--data.dataset.root={small_demo}", "--model.backbone.weights=random", *other])
    trainable = sum(p.numel() for p in cli.model.parameters())
    expected = {  # as the specifications count them
        "emat": 86_020,
        "emat_seg": 74_098,
        "cst": 366_004,
        "cst_large": 366_004,
        "cst_original": 366_004,
        "prototype": 0,
        "dcama": 5_073_394,
        "dcama_resnet50": 14_215_394,
        "dcama_resnet101": 14_222_194,
        "hsnet": 2_573_794,
        "hmnet": 14_887_942,
        "hmnet_5shot": 14_887_942 + 27,
        "sansa": 9_898_385,
        "hmnet_vgg": 14_494_726,
    }
    families = {
        "emat": (700, 27, 80),
        "cst": (700, 36, 80),
        "cst_original": (400, 12, 2000),
        "dcama": (384, 48, 1000),
        "hsnet": (400, 20, 2000),
        "hmnet": (473, 8, 300),
        "pspnet": (417, 12, 100),
    }
    assert trainable == expected.get(method, trainable)
    family = max((name for name in families if method.startswith(name)), key=len, default="")
    if method == "cst_large":  # as EMAT was trained
        family = "emat"
    if family:
        found = (cli.datamodule.image_size, cli.datamodule.training.batch_size, cli.config["trainer"].max_epochs)
        assert found == families[family]
