"""The folders of configs as the registry: tasks, backbones, aliases, and the files of a run."""

import pytest
import yaml

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.methods.alpnet import NETWORKS
from fsbench.methods.modules.frozen_pspnet import PSPNETS, TRUNKS
from fsbench.networks.backbones.sam import SAMS
from fsbench.networks.backbones.sam2_sam3 import SAM2_VIDEOS
from fsbench.networks.backbones.timm_networks import ENCODERS, PYRAMIDS, VITS
from fsbench.runner.config import registry
from fsbench.runner.config.merge import shipped_settings
from fsbench.runner.config.registry import TASKS, choose_method, config_files, names, task_of


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """A folder in place of configs; what was read of it is forgotten afterwards."""
    caches = [value for value in vars(registry).values() if hasattr(value, "cache_clear")]
    monkeypatch.setattr(registry, "CONFIGS", tmp_path)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("kind", ["methods", "data"])
def test_every_file_states_its_task(kind):
    assert {task_of(kind, name) for name in names(kind)} == set(TASKS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("# a\n", "has no key 'task'"), ("# a\ntask: detection\n", "has the task 'detection'")],
)
def test_a_file_without_a_task_is_refused(configs, text, expected):
    (configs / "methods").mkdir()
    (configs / "methods" / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=f"mine.yaml {expected}; expected a line 'task: segmentation'"):
        task_of("methods", "mine")


def test_there_is_a_file_for_every_backbone():
    sams = {name for name in (*SAMS, *SAM2_VIDEOS) if name.startswith(("sam_vit", "sam2_hiera"))}
    beside = {f"vrp_{name}" for name in ("resnet50", "resnet101", "vgg16")}
    known = {*VITS, *PYRAMIDS, *ENCODERS, *PSPNETS, *TRUNKS, *NETWORKS, *sams, *beside}
    assert set(names("backbones")) == known
    for name in known:
        content = yaml.safe_load((CONFIGS / "backbones" / f"{name}.yaml").read_text())
        assert content.pop("model") == {"init_args": {"backbone": {"name": name}}}
        sized = {"demo": 128, "efficientnet_lite0": 224}  # methods' own sizes do not fit these
        assert content == ({"data": {"init_args": {"image_size": sized[name]}}} if name in sized else {})


@pytest.mark.parametrize("backbone", ["demo", "efficientnet_lite0"])
@pytest.mark.parametrize("method", ["prototype", "emat", "hsnet", "dcama"])
def test_a_backbone_of_own_size_fits_every_method(method, backbone):
    size = shipped_settings(method, "pascal", backbone)["data"]["init_args"]["image_size"]
    assert size % PYRAMIDS[backbone].multiple == 0  # which the demo's patches divide


def test_files_for_a_backbone_name_what_there_is():
    for file in (CONFIGS / "backbones").glob("*.*.yaml"):
        backbone, method = file.stem.split(".")
        assert backbone in names("backbones") and method in names("methods")


def test_an_explicit_backbone_comes_after_the_data_set_and_before_a_trial():
    files = config_files("fort", "pets", fast=True, backbone="ibot_swin_tiny")
    assert [str(file.relative_to(CONFIGS)) for file in files] == [
        "base.yaml", "methods/fort.yaml", "data/pets.yaml", "methods/fort.pets.yaml",
        "backbones/ibot_swin_tiny.yaml", "backbones/ibot_swin_tiny.fort.yaml", "fast_classification.yaml",
    ]  # fmt: skip
    assert config_files("fort_swin", "pets", fast=True) == files


@pytest.mark.parametrize(
    ("method", "backbone", "expected"),
    [
        ("dcama", None, "dcama"),
        ("dcama", "swin_base", "dcama"),
        ("dcama", "resnet50", "dcama_resnet50"),
        ("dcama_resnet50", None, "dcama_resnet50"),
        ("dcama_resnet50", "resnet50", "dcama_resnet50"),
        ("dcama", "swin_base_1k", "dcama_swin_base_1k"),
        ("hmnet", "pspnet_vgg16", "hmnet_vgg"),
        ("emat", "demo", "emat_demo"),
    ],
)
def test_a_run_has_the_name_of_its_method_and_backbone(method, backbone, expected):
    assert choose_method(method, backbone).name == expected


@pytest.mark.parametrize(
    ("method", "backbone", "expected"),
    [
        ("emta", None, "unknown method 'emta'; did you mean 'emat'? (see: fsbench list)"),
        ("emat", "vit", "unknown backbone 'vit'; there are: clip_vitb16, "),
        ("pspnet_vgg", None, "unknown method 'pspnet_vgg'"),
        ("fort_swin", "demo", "fort_swin is fort with the backbone ibot_swin_tiny, but the backbone demo is asked for"),
    ],
)
def test_unknown_methods_and_backbones_are_refused(method, backbone, expected):
    with pytest.raises(SettingsError) as refused:
        choose_method(method, backbone)
    assert expected in str(refused.value)
