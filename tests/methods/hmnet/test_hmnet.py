"""HMNet around its goldens: sizes, ways, shots, and settings that are refused."""

import pytest
import torch

from fsbench.backbones.base import BackboneConfig
from fsbench.errors import CheckpointError, SettingsError
from methods.hmnet.base_learner import BaseLearner
from methods.hmnet.hmnet import HMNet
from methods.modules.maps import resize
from tests.methods.hmnet.small import data, episode, on_pspnet, on_vit


def test_predictions_have_the_size_that_is_asked_for(blocks_folder):
    found = episode(data(blocks_folder, 64))
    with torch.no_grad():
        prediction = on_vit()(found)
    assert prediction.label_map.shape == tuple(found.query_sizes[0].tolist())
    assert prediction.logits.shape == (1, 2, *prediction.label_map.shape)
    expected = prediction.logits[0].argmax(0)
    assert torch.equal(prediction.label_map, expected)


def test_the_attention_is_the_prior_of_the_foreground(blocks_folder):
    """Cosines with each shot's mean under the mask, scaled to 0..1 in the image, mean over shots (hmnet.md §4)."""
    found, method = episode(data(blocks_folder, 64, shot=2)), on_vit()
    with torch.no_grad():
        assert method(found).attention is None
        method.keeps_soft_masks = True
        attention = method(found).attention
        side = method.head.side
        query = method.stages(found, [int(found.query[0])]).f3[0]
        total = torch.zeros(side, side)
        for shot, row in enumerate(found.support[0, 0].tolist()):
            support = resize(method.stages(found, [row]).f3, side)[0]
            mask = resize((found.support_labels[0, 0, shot] == 1).float()[None, None], side)[0, 0]
            mean = (support * mask).sum((1, 2)) / mask.sum()
            cosine = torch.nn.functional.cosine_similarity(query, mean[:, None, None], dim=0)
            scaled = (cosine - cosine.min()) / (cosine.max() - cosine.min())
            total += resize(scaled[None, None], side)[0, 0]
    assert attention.shape == (1, side, side) and attention.std() > 0.05
    torch.testing.assert_close(attention[0], total / 2, atol=1e-4, rtol=0)


def test_shots_are_averaged_whatever_their_order_and_number(blocks_folder):
    module = data(blocks_folder, shot=3)
    found, method = episode(module), on_pspnet()
    turned = found.__class__(**{k: getattr(found, k) for k in found.__dataclass_fields__})
    turned.support, turned.support_labels = found.support.roll(1, 2), found.support_labels.roll(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(method(found).logits, method(turned).logits, atol=1e-5, rtol=1e-5)


def test_learned_weights_of_shots_need_that_many(blocks_folder):
    method = on_pspnet(shots=3)
    assert sum(p.numel() for p in method.head.kshot_rw.parameters()) == 2 * 3 + 2 + 3 * 2 + 3
    with pytest.raises(SettingsError, match="but the test shows 1 at a time; give SHOT=3"):
        method(episode(data(blocks_folder)))
    assert method(episode(data(blocks_folder, shot=3))).label_map.dim() == 2


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="bam needs a backbone with a base learner, found demo"):
        on_vit(bam=True)
    with pytest.raises(SettingsError, match="shots is 5, but without a base learner"):
        on_vit(shots=5)
    with pytest.raises(SettingsError, match="feature_side is 9, expected a multiple of the 4 patches a side"):
        on_vit(feature_side=9)
    for side in (0, -4):
        with pytest.raises(SettingsError, match=f"feature_side is {side}, expected a multiple"):
            on_vit(feature_side=side)
    with pytest.raises(SettingsError, match="states is 300, expected at most 256"):
        on_vit(states=300)
    for rate in ("learning_rate", "mamba_learning_rate", "momentum", "weight_decay", "mamba_weight_decay"):
        with pytest.raises(SettingsError, match=f"^{rate} is -1, expected 0 or more"):
            on_vit(**{rate: -1})
    with pytest.raises(SettingsError, match="'demo' is no dilated network; give --model"):
        BaseLearner(BackboneConfig("demo"))
    with pytest.raises(SettingsError, match="'dinov2_vits14' gives no features for HMNet; there are: pspnet_resnet50"):
        HMNet(BackboneConfig("dinov2_vits14"))
    with pytest.raises(SettingsError, match="image size 472 does not fit pspnet_vgg16; expected 8 n \\+ 1"):
        on_pspnet().backbone.check_image_size(472)
    with pytest.raises(CheckpointError, match="train them with METHOD=pspnet"):
        HMNet(BackboneConfig("pspnet_resnet50", "nowhere.pth"))
