"""PATNet's own rules beside the goldens: plain formulas, anchors of other networks, fine-tuning (patnet.md)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.methods.hsnet.patnet import PATNet
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.kept_correlation import resize_mask
from fsbench.runner.contract.episodes import segmentation_episode

DEMO = BackboneConfig("demo", "random:1")


def patnet(**settings) -> PATNet:
    torch.manual_seed(0)
    return PATNet(DEMO, width=32, **settings).eval()


def episode(number: int = 0, ways: int = 1, shots: int = 1):
    return segmentation_episode(0, number, ways, shots, 64).without_truth()


def answer(method: PATNet, given) -> Tensor:
    with torch.inference_mode():
        prediction = method(given)
    return prediction.probability if prediction.logits is None else prediction.logits


def test_maps_have_anchors_by_number_or_by_scale():
    assert patnet().numbers == [[0] * 4, [1] * 4, [1, 1, 2, 2]]
    assert patnet(anchors="scale").numbers == [[0] * 4, [1] * 4, [2] * 4]
    with pytest.raises(SettingsError, match=r"maps of 1024 channels get anchors of 2048 on resnet101_v1; expected a"):
        PATNet(BackboneConfig("resnet101_v1", "random:1"))
    assert PATNet(BackboneConfig("resnet101_v1", "random:1"), width=32, anchors="scale").numbers[1] == [1] * 23


def test_anchors_that_no_map_has_are_not_trained():
    method = PATNet(BackboneConfig("vgg16", "random:1"), width=32)
    trained = {name for name, p in method.named_parameters() if p.requires_grad and name.startswith("reference")}
    assert trained == {"reference_layer1.weight", "reference_layer2.weight"}


def test_fine_tuning_is_that_of_a_plain_loop_and_leaves_the_method_as_it_was():
    """Two shots: the loss is the mean of both, each with the mask that its own support predicts."""
    method, given = patnet(tuning_steps=2, tuning_rate=1e-2), episode(shots=2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    query, ways = method.ask(given)
    (shots,) = map(list, ways)
    tuned = method.tune(query, shots)
    assert all(p.grad is None for p in method.parameters())
    plain = [layer.weight.detach().clone().requires_grad_() for layer in method.reference_layers]
    optimizer = torch.optim.Adam(plain, 1e-2)
    for _ in range(2):
        losses = []
        for shot in shots:
            logits = method.segment_with(query, shot, plain)
            soft = F.interpolate(logits, (64, 64), mode="bilinear", align_corners=True).softmax(1)[:, 1]
            losses.append(sum(kl(query[0][:, i], soft, shot.scales[0][:, i], shot.mask.float()) for i in range(4)))
        optimizer.zero_grad()
        (sum(losses) / 2).backward()
        optimizer.step()
    moved = [(a - b.weight).abs().max() for a, b in zip(plain, method.reference_layers, strict=True)]
    assert min(moved[:2]) > 1e-3  # at 1/32 no support pixel is kept
    for found, expected in zip(tuned, plain, strict=True):
        torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def kl(query: Tensor, query_mask: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
    """Return the divergence of one map's foreground prototypes (§6)."""
    weights = [resize_mask(mask, (query.shape[2], query.shape[3])) for mask in (query_mask, support_mask)]
    means = [(x * w).sum((2, 3)) / (w.sum((1, 2)) + 1e-6) for x, w in zip((query, support), weights, strict=True)]
    p_q, p_s = (mean.softmax(1) for mean in means)
    return (p_s * (p_s / p_q).log()).sum()


@pytest.mark.slow(2)
def test_an_episode_is_answered_alike_whatever_came_before():
    method = patnet(tuning_steps=2, tuning_rate=1e-2)
    alone = answer(method, episode(1, ways=2))
    answer(method, episode(0, shots=2))
    assert torch.equal(answer(method, episode(1, ways=2)), alone)
    assert not torch.equal(answer(patnet(), episode(1, ways=2)), alone)
    query, ways = method.ask(episode(1, ways=2))
    first, second = (method.tune(query, list(shots))[0] for shots in ways)
    assert not torch.equal(first, second)  # each way by itself


def test_fine_tuning_names_itself():
    assert patnet().record_notes(None) == []
    notes = patnet(tuning_steps=50).record_notes(None)
    assert len(notes) == 1 and "(TFI), by 50 steps of Adam at 0.001" in notes[0]
    with pytest.raises(SettingsError, match=r"tuning_steps is -1 and tuning_rate 0\.001, expected 0 or more"):
        patnet(tuning_steps=-1)
