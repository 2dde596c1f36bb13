"""Checkpoints of EMAT and CST: the authors', ours, and those that cannot be used."""

import lightning as L
import numpy as np
import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading
from fsbench.methods.cst import CST, cst_learner
from fsbench.methods.emat import EMAT, emat_learner
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import VITS, random_state
from fsbench.networks.weights.files import read_checkpoint
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.checkpoint import checkpoint_weights_origin, convert, load_checkpoint
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse_run
from tests.methods.small import vit

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def data(episodes):
    return episodes(48, 8)


def converted(source, target, backbone):
    return convert(source, target, backbone, {"emat": EMAT.released_format})


def official_checkpoint(path, learner):
    """A checkpoint as the authors release it: Lightning's form, backbone and learner together."""
    frozen = random_state(VITS["tiny"], 7) | {"mask_token": torch.zeros(1, 24)}
    state = {f"backbone.{k}": v for k, v in frozen.items()} | {
        f"learner.{k}": v for k, v in learner.state_dict().items()
    }
    torch.save({"epoch": 3, "global_step": 5, "state_dict": state, "callbacks": {"best": 1.0}}, path)
    return state


def test_authors_checkpoints_load_with_their_backbone(tmp_path, data):
    torch.manual_seed(1)
    state = official_checkpoint(tmp_path / "best.ckpt", emat_learner(6, 8))
    method = EMAT(vit(), support_side=8)
    load_checkpoint(method, tmp_path / "best.ckpt")
    assert torch.equal(method.state_dict()["learner.linear.0.weight"], state["learner.linear.0.weight"])
    assert torch.equal(method.backbone.state["cls_token"], state["backbone.cls_token"])
    assert method.backbone.weights_id.startswith("in the checkpoint best.ckpt sha256 ")
    told = checkpoint_weights_origin(method, read_checkpoint(tmp_path / "best.ckpt"))
    assert told == {"origin": "the authors' checkpoint", "training": None, "trained_on": None}
    other = EMAT(BackboneConfig("tiny", "random:7"), support_side=8)
    other.load_state_dict(method.state_dict())
    batch = next(iter(data.test_dataloader()))
    results = [m.eval().answer_batch(batch)[0] for m in (method, other)]
    assert np.array_equal(results[0].score, results[1].score)


def test_checkpoints_convert_both_ways(tmp_path):
    state = official_checkpoint(tmp_path / "theirs.ckpt", emat_learner(6, 8))
    assert converted(tmp_path / "theirs.ckpt", tmp_path / "ours.ckpt", None) == (
        "authors' to ours; its variant: taken on trust, as no config.yaml is beside it"
    )
    ours = torch.load(tmp_path / "ours.ckpt", weights_only=True)["state_dict"]
    assert all(key.startswith("learner.") for key in ours)
    frozen = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    torch.save(frozen, tmp_path / "weights.pth")
    assert converted(tmp_path / "ours.ckpt", tmp_path / "again.ckpt", tmp_path / "weights.pth") == "ours to authors'"
    again = torch.load(tmp_path / "again.ckpt", weights_only=True)["state_dict"]
    assert again.keys() == state.keys() and all(torch.equal(again[k], state[k]) for k in state)
    with pytest.raises(CheckpointError, match="holds no backbone"):
        converted(tmp_path / "ours.ckpt", tmp_path / "x.ckpt", None)
    torch.save(frozen | {"cls_token": frozen["cls_token"] + 1}, tmp_path / "others.pth")
    with pytest.raises(CheckpointError, match=r"was trained on .*theirs.ckpt', not on .*others.pth"):
        converted(tmp_path / "ours.ckpt", tmp_path / "x.ckpt", tmp_path / "others.pth")
    same = EMAT(BackboneConfig("tiny", "random:7"), support_side=8)
    content = load_checkpoint(same, tmp_path / "ours.ckpt")
    assert checkpoint_weights_origin(same, content)["origin"] == "the authors' checkpoint"
    with pytest.raises(CheckpointError, match=r"was trained on the backbone weights 'in the .*theirs.ckpt'"):
        load_checkpoint(EMAT(BackboneConfig("tiny", "random:5"), support_side=8), tmp_path / "ours.ckpt")


@pytest.mark.slow(2)
def test_a_checkpoint_with_its_backbone_asks_for_no_other_weights(tmp_path, blocks_folder):
    """The file of the backbone's own weights is not here."""
    state = official_checkpoint(tmp_path / "theirs.ckpt", emat_learner(6, 8))
    own = ("--model.support_side=8", "--model.backbone.name=tiny", "--data.image_size=56")
    images = ("--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}")

    def request(checkpoint):
        return RunConfig("emat", "demo", checkpoint=checkpoint, extra=(*own, *images), episodes=2)

    backbone = Experiment(parse_run(request(str(tmp_path / "theirs.ckpt")))).method.backbone
    assert torch.equal(backbone.state["cls_token"], state["backbone.cls_token"])
    assert backbone.weights_id.startswith("in the checkpoint theirs.ckpt")
    converted(tmp_path / "theirs.ckpt", tmp_path / "ours.ckpt", None)
    for checkpoint in (None, str(tmp_path / "ours.ckpt")):  # which hold none
        with pytest.raises(CheckpointError, match=r"tiny\.pth"):
            parse_run(request(checkpoint))


@pytest.mark.parametrize("ours", [True, pytest.param(False, marks=pytest.mark.slow(1))])
def test_a_trainer_by_hand_tests_what_was_converted(tmp_path, blocks_folder, ours):
    state = official_checkpoint(tmp_path / "theirs.ckpt", emat_learner(6, 8))
    frozen = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    torch.save(frozen, tmp_path / "weights.pth")
    converted(tmp_path / "theirs.ckpt", tmp_path / "ours.ckpt", None)
    converted(tmp_path / "ours.ckpt", tmp_path / "again.ckpt", tmp_path / "weights.pth")
    test, loading = EpisodicTest(way=2, episodes=3), Loading(workers=0)
    data = EpisodicDataModule(Folder(str(blocks_folder)), test, loading=loading, image_size=56)
    loaded = EMAT(BackboneConfig("tiny", "random:1"), support_side=8)
    load_checkpoint(loaded, tmp_path / "theirs.ckpt")
    method = EMAT(BackboneConfig("tiny", "random:7" if ours else "random:2"), support_side=8)
    trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    file = tmp_path / ("ours.ckpt" if ours else "again.ckpt")
    (found,) = trainer.test(method, datamodule=data, ckpt_path=file, verbose=False)
    (expected,) = trainer.test(loaded, datamodule=data, verbose=False)
    assert found == pytest.approx(expected, nan_ok=True)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in method.state_dict().items())
    assert method.backbone.digest == loaded.backbone.digest


STATED = """
DATA: {BENCHMARK: pascal, IMG_SIZE: 700, NAME: x}
METHOD: {NAME: CST*, SUPPORT_DIM: 145}
TRAIN: {LR: 1e-3, GPUS: [0, 1, 2]}
"""


@pytest.mark.parametrize(
    ("stated", "size", "message"),
    [
        (STATED, 700, None),
        ("SUPPORT_DIM: 145\nIMG_SIZE: 700\n", 700, None),
        (STATED, None, None),
        ("x: [1]", 700, "trust"),
        ("METHOD: {SUPPORT_DIM: 145}", 700, "trust"),
        (
            STATED.replace("145", "325"),
            700,
            "support_side 18, as its config.yaml states; expected 12, with which the method is built; give "
            "--model.support_side 18",
        ),
        (STATED, 400, "image_size 700, as its config.yaml states; expected 400.*give --image-size 700"),
        (STATED.replace("CST\\*", "EMAT").replace("CST*", "EMAT"), 700, "is of EMAT.*expected cst; give the METHOD"),
        (STATED.replace("145", "146"), 700, "SUPPORT_DIM is 146, expected a square and 1, as 401 or 145"),
        (STATED.replace("145", "many"), 700, "SUPPORT_DIM is 'many', expected a whole number above 0"),
        (STATED.replace("145", "true"), 700, "SUPPORT_DIM is 'True', expected a whole number above 0"),
        (STATED + "IMG_SIZE: 400", 700, "states IMG_SIZE several times: 700 and 400; expected one"),
        ("- 145", 700, "config.yaml holds list; expected the authors' YAML"),
        ("METHOD: {NAME: [", 700, "cannot read .*config.yaml .*expected the authors' YAML"),
        ("!!python/object/apply:print ['code ran']", 700, "cannot read .*config.yaml"),
        pytest.param("[" * 5000, 700, "cannot read .*config.yaml", marks=pytest.mark.slow(2)),
        ("x" * 2**21, 700, "config.yaml has 2097152 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_authors_state_beside_a_checkpoint(tmp_path, capsys, stated, size, message):
    """CST* and CST-large have equal keys and shapes: only the file beside the checkpoint tells them apart."""
    frozen = random_state(VITS["tiny"], 7)
    learned = {f"learner.{k}": v for k, v in cst_learner(6, 12).state_dict().items()}
    torch.save({"state_dict": learned | {f"backbone.{k}": v for k, v in frozen.items()}}, tmp_path / "best.ckpt")
    (tmp_path / "config.yaml").write_text(stated)
    method = CST(vit())
    if message not in (None, "trust"):
        with pytest.raises(CheckpointError, match=message) as error:
            load_checkpoint(method, tmp_path / "best.ckpt", image_size=size)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
    else:
        expected = "taken on trust" if message else "stated beside the checkpoint"
        assert load_checkpoint(method, tmp_path / "best.ckpt", image_size=size)["variant"] == expected
    assert "code ran" not in capsys.readouterr().out


def test_a_converted_checkpoint_keeps_what_was_stated_beside_it(tmp_path):
    official_checkpoint(tmp_path / "best.ckpt", cst_learner(6, 12))
    assert load_checkpoint(CST(vit()), tmp_path / "best.ckpt", image_size=700)["variant"] == "taken on trust"
    (tmp_path / "config.yaml").write_text(STATED)
    (tmp_path / "ours").mkdir()
    assert converted(tmp_path / "best.ckpt", tmp_path / "ours" / "x.ckpt", None) == (
        "authors' to ours; its variant: method CST*, support_side 12, image_size 700 (stated beside the checkpoint)"
    )
    same = CST(BackboneConfig("tiny", "random:7"))
    loaded = load_checkpoint(same, tmp_path / "ours" / "x.ckpt", image_size=700)
    assert loaded["variant"] == "stated beside the checkpoint"
    large = CST(BackboneConfig("tiny", "random:7"), support_side=18)
    with pytest.raises(CheckpointError, match=r"support_side 12.*expected 18.*--model\.support_side 12"):
        load_checkpoint(large, tmp_path / "ours" / "x.ckpt", image_size=700)
    (tmp_path / "config.yaml").unlink()
    trained = CST(BackboneConfig("tiny", "random:7"))
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "bare.ckpt")
    told = checkpoint_weights_origin(trained, read_checkpoint(tmp_path / "bare.ckpt"))
    assert told == {"origin": "another run", "training": None, "trained_on": None}
    assert load_checkpoint(trained, tmp_path / "bare.ckpt", image_size=700)["variant"] is None


@pytest.mark.parametrize("state", [{}, {"head.w": torch.zeros(1)}, {"backbone.cls_token": torch.zeros(1)}])
def test_what_is_neither_form_is_not_converted(tmp_path, state):
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint of the authors"):
        converted(tmp_path / "x.ckpt", tmp_path / "y.ckpt", tmp_path / "weights.pth")
    assert not (tmp_path / "y.ckpt").exists()


def test_a_checkpoint_of_another_method_names_the_keys(tmp_path):
    official_checkpoint(tmp_path / "cst.ckpt", cst_learner(6, 6))
    with pytest.raises(
        CheckpointError,
        match=r"cst.ckpt cannot be used with this model: \d+ keys missing: learner.corrtrans.*not known",
    ):
        load_checkpoint(EMAT(vit(), support_side=8), tmp_path / "cst.ckpt")


def test_a_checkpoint_of_another_backbone_is_refused(tmp_path):
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=False)
    method = CST(vit("random:1"), support_side=6)
    trainer.strategy.connect(method)
    trainer.save_checkpoint(tmp_path / "ours.ckpt")
    load_checkpoint(CST(vit("random:1"), support_side=6), tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match=r"of cst\).* was trained on .*random \(seed 1\).*random \(seed 2\)"):
        load_checkpoint(CST(vit("random:2"), support_side=6), tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match=r"was trained with .*'support_side': 6.*expected .*'support_side': 9"):
        load_checkpoint(CST(vit("random:1"), support_side=9), tmp_path / "ours.ckpt")  # of the same shapes
    stored = torch.load(tmp_path / "ours.ckpt", weights_only=True)["state_dict"]
    assert all(key.startswith("learner.") for key in stored)  # frozen weights are in no checkpoint


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_what_is_no_checkpoint_is_said(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        load_checkpoint(EMAT(vit(), support_side=8), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(EMAT(vit(), support_side=8), tmp_path / "y.ckpt")
