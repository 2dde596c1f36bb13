"""Weights under other entries or with a wrapper's name before all keys are used, or told as such."""

import logging
from argparse import Namespace

import pytest
import torch

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
