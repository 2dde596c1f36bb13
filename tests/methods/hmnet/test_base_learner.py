"""The base learner: its training, its predictions, and HMNet on it."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from fsbench.backbones.base import BackboneConfig
from fsbench.engine.callbacks import EpisodicValidation
from fsbench.errors import SettingsError
from methods.hmnet.base_learner import BaseLearner
from methods.hmnet.frozen_pspnet import FrozenPSPNet
from methods.hmnet.hmnet import HMNet
from methods.hmnet.pspnet import PSPNet
from tests.methods.hmnet.small import SMALL, data, episode, fit


def test_the_base_learner_must_know_the_folds_classes(blocks_folder, tmp_path):
    with torch.random.fork_rng():
        state = PSPNet("vgg16", 5).state_dict()
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "five.pth")
    method = HMNet(BackboneConfig("pspnet_vgg16", str(tmp_path / "five.pth")), **SMALL)
    assert method.backbone.classes == 5
    with pytest.raises(SettingsError, match="tells 5 classes apart, but the fold has 3 base classes"):
        fit(method, data(blocks_folder))


def test_the_chain_from_the_base_learner_to_hmnet(blocks_folder, tmp_path):
    """A PSPNet is trained on the base classes; its checkpoint is HMNet's backbone and knows its fold."""
    torch.manual_seed(0)
    learner = BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3)
    module = data(blocks_folder, training_items="images", validation="base")
    fit(learner, module, 1, [ModelCheckpoint(tmp_path, "base"), EpisodicValidation(module)])
    frozen = FrozenPSPNet(BackboneConfig("pspnet_vgg16", str(tmp_path / "base.ckpt")))
    assert frozen.classes == 3 and frozen.trained_on["classes"] == ["yellow", "cyan", "magenta"]
    pixels = torch.randn(3, 33, 33)
    with torch.no_grad():
        expected = learner.eval().model(pixels[None])
    for found, value in zip(frozen.encode(pixels), expected, strict=True):
        torch.testing.assert_close(found, value[0])
    module.check_unseen(frozen.trained_on, "the backbone")
    with pytest.raises(SettingsError, match="was trained on fold 0 of blocks, whose base classes include yellow"):
        data(blocks_folder, fold=1).check_unseen(frozen.trained_on, "the backbone")
    with pytest.raises(SettingsError, match="classes is 15, but the fold has 3 base classes"):
        fit(BaseLearner(BackboneConfig("dilated_vgg16", "random")), module)


def test_the_base_learner_answers_with_what_it_sees_under_the_mask(blocks_folder, monkeypatch):
    """With logits that are given: class 2 under the support mask, so class 2 of the query."""
    learner = BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3)
    found = episode(data(blocks_folder))
    mask = torch.nn.functional.interpolate(found.support_masks[0, 0, :, None].float(), (33, 33))[0, 0] > 0
    support, query = torch.zeros(4, 33, 33), torch.zeros(4, 33, 33)
    support[2, mask], support[3, ~mask] = 1, 1
    query[2, :, :16], query[1, :, 16:] = 1, 1
    images = iter([query, support])
    monkeypatch.setattr(learner, "_probabilities", lambda episode, rows: next(images)[None])
    answer = learner(found).label_map
    assert (answer[:, 0] == 1).all() and (answer[:, -1] == 0).all()
