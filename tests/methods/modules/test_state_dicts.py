"""Weights under other entries or with a wrapper's name before all keys are used, or told as such."""

import logging
from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError
from fsbench.methods.emat import EMAT
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import VITS, random_state
from fsbench.networks.weights.files import read_checkpoint, read_weights
from fsbench.runner.engine.checkpoint import load_checkpoint, save_checkpoint
from tests.methods.small import vit

STATE = {"a": torch.ones(2), "b": torch.zeros(1)}


@pytest.mark.parametrize("read", [lambda path: read_checkpoint(path)["state_dict"], read_weights])
def test_the_entry_that_holds_weights_is_found_or_all_are_named(tmp_path, read):
    path = tmp_path / "x.pth"
    for name in ("net", "model_state_dict", "ema", "model"):
        torch.save({name: STATE, "epoch": 3, "optimizer": {"state": {}, "lr": 1}}, path)
        assert read(path).keys() == STATE.keys()
    torch.save({"student": STATE, "teacher": STATE | {"c": torch.ones(1)}, "epoch": 3}, path)
    with pytest.raises(
        CheckpointError, match=r"several state_dicts: student \(2 tensors\), teacher \(3 tensors\)"
    ) as told:
        read(path)
    assert 'weights_only=True)["student"], NEW_FILE)' in str(told.value)
    torch.save({"epoch": 3, "config": {"lr": 1}}, path)
    with pytest.raises(CheckpointError, match=r"has no state_dict; it holds epoch \(int\), config \(dict\)"):
        read(path)
    torch.save({"state_dict": STATE, "hyper_parameters": Namespace(a=1)}, path)
    with pytest.raises(CheckpointError, match=r"holds objects \(argparse.Namespace\), which could run code"):
        read(path)


AVERAGE = {f"module.{key}": value + 1 for key, value in STATE.items()}


@pytest.mark.parametrize("read", [lambda path: read_checkpoint(path)["state_dict"], read_weights])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"state_dict": STATE, "state_dict_ema": AVERAGE}, "state_dict (2 tensors), state_dict_ema (2 tensors)"),
        ({"model": STATE, "model_ema": STATE}, "model (2 tensors), model_ema (2 tensors)"),
        ({"ema": {"shadow": AVERAGE}, "state_dict": STATE}, "state_dict (2 tensors), ema.shadow (2 tensors)"),
    ],
)
def test_weights_beside_averaged_ones_are_not_taken_unasked(tmp_path, read, content, named):
    torch.save({"epoch": 3, **content}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError) as told:
        read(tmp_path / "x.pth")
    assert f"has several state_dicts: {named}; expected one" in str(told.value)


def test_of_lightnings_averaged_weights_the_average_is_taken_and_named(tmp_path, caplog):
    """A run's own checkpoints are read as they were written, whatever a callback keeps in them."""
    torch.save(
        {"state_dict": AVERAGE, "current_model_state": STATE, "averaging_state": {"n": STATE["b"]}}, tmp_path / "x"
    )
    with caplog.at_level(logging.INFO, "fsbench"):
        assert read_checkpoint(tmp_path / "x")["state_dict"].keys() == AVERAGE.keys()
    assert "takes the averaged weights (state_dict), not those of current_model_state" in caplog.text
    torch.save({"state_dict": STATE, "ema": AVERAGE, "fsbench": {"method": "mine"}}, tmp_path / "ours")
    assert read_checkpoint(tmp_path / "ours")["state_dict"].keys() == STATE.keys()
    torch.save({"model": STATE, "criterion": {"weight": torch.ones(3)}}, tmp_path / "other")
    assert read_checkpoint(tmp_path / "other")["state_dict"].keys() == STATE.keys()


@pytest.mark.parametrize("name", ["x.safetensors", "x.SAFETENSORS", "x.ckpt", "x"])
def test_a_file_of_safetensors_is_a_checkpoint(tmp_path, name):
    save_file(STATE, tmp_path / name, metadata={"format": "pt"})
    for state in (read_checkpoint(tmp_path / name)["state_dict"], read_weights(tmp_path / name)):
        assert state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("read", [read_checkpoint, read_weights])
@pytest.mark.parametrize(
    ("keep", "found"), [(slice(0, -4), "bytes; expected"), (slice(0, 30), "damaged header"), (slice(0, 0), "0 bytes")]
)
def test_a_damaged_file_of_safetensors_says_what_is_wrong(tmp_path, read, keep, found):
    path = tmp_path / "x.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[keep])
    with pytest.raises(CheckpointError) as told:
        read(path)
    assert found in str(told.value) and ".ckpt, .pth" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.", "net.", "_orig_mod.module.", "anything."])
def test_a_name_before_all_keys_is_left_out_where_the_rest_fits(tmp_path, caplog, wrapper):
    method, path = EMAT(vit(), support_side=8), tmp_path / "x.ckpt"
    own = {key: torch.full_like(value, 0.5) for key, value in method.state_dict().items()}
    torch.save({"state_dict": {wrapper + key: value for key, value in own.items()}}, path)
    with caplog.at_level(logging.INFO, "fsbench"):
        load_checkpoint(method, path)
    assert all(torch.equal(value, own[key]) for key, value in method.state_dict().items())
    assert f"all {len(own)} keys begin with '{wrapper}', which is left out" in caplog.text
    weights = random_state(VITS["tiny"], 7)
    torch.save({wrapper + key: value for key, value in weights.items()}, tmp_path / "w.pth")
    read = EMAT(BackboneConfig("tiny", str(tmp_path / "w.pth")), support_side=8).backbone
    assert read.digest == EMAT(BackboneConfig("tiny", "random:7"), support_side=8).backbone.digest


@pytest.mark.usefixtures("tiny")
def test_a_name_before_all_keys_is_told_where_the_rest_does_not_fit(tmp_path):
    torch.save({f"module.{key}": value for key, value in STATE.items()}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=r"all 2 keys begin with 'module\.', and without it they do not fit"):
        load_checkpoint(EMAT(vit(), support_side=8), tmp_path / "x.ckpt")


def test_what_cannot_be_read_back_replaces_nothing(tmp_path):
    path = tmp_path / "x.ckpt"
    save_checkpoint({"state_dict": STATE}, path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"x.ckpt is not written.*argparse.Namespace"):
        save_checkpoint({"state_dict": STATE, "x": Namespace()}, path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]
