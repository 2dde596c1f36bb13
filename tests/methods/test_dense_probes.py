"""Probes of tokens, linear and with LoRA: what they learn, and what leaves their answers as they are."""

import pytest
import torch
import torch.nn.functional as F

from fsbench.methods.dense_probes import LinearProbeDense, LoraProbeDense
from fsbench.methods.dense_probes.linear_probe import balanced_cross_entropy, class_shares, fit, moments
from fsbench.methods.dense_probes.lora_probe import TunedProbe, tune
from fsbench.methods.modules.lora import insert_lora
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode


def problem(seed: int = 0, n: int = 80, width: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised tokens (n, C) in noisy groups, and shares (n, G)."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    tokens = 2 * torch.randn(classes, width, generator=rng)[labels] + torch.randn(n, width, generator=rng)
    mean, deviation = moments(tokens)
    return (tokens - mean) / deviation, F.one_hot(labels, classes).float()


def test_shares_are_of_the_area_and_void_has_none():
    labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    labels[0, 0, :2, 0] = 1  # two of the four pixels of the first cell
    labels[0, 0, 0, 1] = 255
    labels[1, 0, 2:, 2:] = 1
    shares = class_shares(labels, 2, 2)
    assert shares.tolist() == [[0.25, 0.5, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], *[[1, 0, 0]] * 3, [0, 0, 1]]


def test_the_loss_gives_every_class_the_same_weight():
    logits, shares = torch.randn(30, 3, generator=torch.Generator().manual_seed(2)), torch.zeros(30, 3)
    for row in range(30):
        shares[row, 0 if row < 24 else 1 if row < 28 else 2] = 1
    each = [F.cross_entropy(logits[shares[:, c] > 0], shares[shares[:, c] > 0]) for c in range(3)]
    torch.testing.assert_close(balanced_cross_entropy(logits, shares), torch.stack(each).mean())


def test_the_classifier_is_at_the_minimum():
    tokens, shares = problem()
    weight, bias = fit(tokens, shares, 0.01, 200)
    weight.requires_grad_(), bias.requires_grad_()
    loss = balanced_cross_entropy(F.linear(tokens, weight, bias), shares) + 0.005 * weight.square().sum()
    loss.backward()
    assert float(weight.grad.abs().max()) < 1e-3 and float(bias.grad.abs().max()) < 1e-3
    assert (F.linear(tokens, weight, bias).argmax(1) == shares.argmax(1)).float().mean() > 0.9


def test_more_tokens_of_the_background_change_nothing():
    tokens, shares = problem(3)
    background = shares[:, 0] > 0
    more = torch.cat([tokens, tokens[background]]), torch.cat([shares, shares[background]])
    torch.testing.assert_close(fit(*more, 0.1, 200)[0], fit(tokens, shares, 0.1, 200)[0], atol=2e-3, rtol=0)


def test_a_way_without_pixels_is_never_predicted():
    method = LinearProbeDense(BackboneConfig("demo", "random:1")).eval()
    episode = next(segmentation_episode(0, 0, 2, 1, 64).split()).without_truth()
    assert 1 in method.predict_shots(episode).label_map
    episode.support_labels[:, 0] = 0
    assert 1 not in method.predict_shots(episode).label_map
    episode.support_labels[:] = 255
    assert not method.predict_shots(episode).label_map.any()


def test_it_learns_a_weight_for_each_channel_and_class():
    assert LinearProbeDense(BackboneConfig("demo", "random:1")).num_trainable_parameters(2) == 97 * 3


def lora(**settings: object) -> LoraProbeDense:
    return LoraProbeDense(BackboneConfig("demo", "random:1"), **{"tuning_steps": 2, **settings}).eval()


def test_tuning_begins_at_the_linear_probe():
    """A rate so small that no weight moves leaves the linear probe's answer."""
    episode = next(segmentation_episode(0, 0, 2, 2, 64).split()).without_truth()
    linear = LinearProbeDense(BackboneConfig("demo", "random:1")).eval().predict_shots(episode)
    torch.testing.assert_close(
        lora(learning_rate=1e-12).predict_shots(episode).logits, linear.logits, atol=1e-3, rtol=1e-3
    )


def test_tuning_lowers_the_loss_and_changes_adapters_and_classifier_alone():
    method = lora()
    episode = next(segmentation_episode(1, 0, 1, 2, 64).split()).without_truth()
    images = [episode.pixels(int(row)) for row in episode.support[0, 0]]
    shares = class_shares(episode.support_labels[0], 8, 8).view(2, 64, 2)
    network = method.backbone.new_copy(images[0])
    torch.manual_seed(0)
    insert_lora(network, 2, 2)
    zero = torch.zeros(2, 96)
    probe = TunedProbe(network, torch.zeros(96), torch.ones(96), zero, zero[:, 0].clone())
    before = {name: value.clone() for name, value in probe.state_dict().items()}

    def loss() -> float:
        with torch.no_grad():
            logits = torch.cat([probe(image) for image in images])
            return float(balanced_cross_entropy(logits, shares.flatten(0, 1)))

    first = loss()
    tune(probe, images, shares, 1e-3, 1e-2, 5)
    assert abs(first - 0.6931) < 1e-3 and loss() < 0.9 * first
    moved = {name for name, value in probe.state_dict().items() if not torch.equal(value, before[name])}
    assert {"weight", "bias"} < moved and all(".lora_" in name for name in moved - {"weight", "bias"})


def generator_states() -> list[torch.Tensor]:
    """Return the states of the CPU's generator and of those of the GPUs in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]


@pytest.mark.slow(1)
def test_lora_leaves_the_backbone_and_generators_alone():
    method, another = lora(), lora(seed=1)
    episode = next(segmentation_episode(0, 0, 1, 1, 64).split()).without_truth()
    tokens, _ = (m.backbone.encode(episode.pixels(0)) for m in (method, another))  # networks are built here
    states = generator_states()
    with torch.inference_mode():
        first, again, other = (m.predict_shots(episode).logits for m in (method, method, another))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert all(map(torch.equal, generator_states(), states))
    assert torch.equal(method.backbone.encode(episode.pixels(0)), tokens)


def test_lora_learns_as_many_weights_as_its_network_has():
    method = lora(rank=3)
    network = method.backbone.new_copy(torch.zeros(3, 64, 64))
    insert_lora(network, 3, 3)
    adapters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert method.num_trainable_parameters(2) == adapters + 97 * 3
