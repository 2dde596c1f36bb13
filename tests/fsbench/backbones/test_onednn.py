"""oneDNN's linear layers in frozen networks: near torch's own, bit for bit the same however they are called."""

import copy
import pickle
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.encoder import Encoder
from fsbench.backbones.onednn import OneDnnLinear, onednn_problem, use_onednn
from fsbench.backbones.pyramid import FrozenPyramid
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.backbones.vit import FrozenViT
from tests.fsbench.backbones.test_pyramid import SMALL, SWIN

NEAR = 1e-5
"""Largest difference over the largest feature; 2e-6 was measured for whole networks."""
FAMILIES = {
    "vit": (FrozenViT, "demo", 64),
    "swin": (FrozenPyramid, "small_swin", 64),
    "resnet": (FrozenPyramid, "small", 64),
    "classifier": (Encoder, "demo", 64),
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    monkeypatch.setitem(PYRAMIDS, "small_swin", SWIN)


def pictures(count: int, side: int) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def parts(features):
    return features if isinstance(features, tuple) else (features,)


def build(family: str, kernels: str):
    kind, name, side = FAMILIES[family]
    backbone = kind(BackboneConfig(name, "random"))
    backbone.use_cpu_kernels(kernels)
    return backbone, pictures(3, side)


def test_this_torch_has_the_operators():
    assert onednn_problem() is None


@pytest.mark.parametrize(("shape", "bias"), [((7,), True), ((2, 5, 7), False), ((1, 3, 4, 7), True), ((0, 7), True)])
def test_a_layer_is_the_linear_layer(shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(7, 5, bias=bias).requires_grad_(False)
    inputs = torch.randn(shape)
    expected = (inputs.double() @ layer.weight.double().T) + (layer.bias.double() if bias else 0)
    torch.testing.assert_close(OneDnnLinear(layer)(inputs).double(), expected, rtol=1e-6, atol=1e-6)
    turned = torch.randn(2, 7, 4).transpose(1, 2)
    torch.testing.assert_close(OneDnnLinear(layer)(turned), F.linear(turned, layer.weight, layer.bias))


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_near_torchs_own(family):
    """A ResNet has no linear layer on the way to its features: equal bits."""
    (own, images), (other, _) = build(family, "default"), build(family, "onednn")
    replaced = sum(isinstance(module, OneDnnLinear) for module in other.network(images[0]).modules())
    assert not any(isinstance(module, OneDnnLinear) for module in own.network(images[0]).modules())
    assert (replaced == 0) == (family == "resnet")
    for one, two in zip(parts(own.encode(images[0])), parts(other.encode(images[0])), strict=True):
        assert one.shape == two.shape and two.dtype == torch.float32 and not two.requires_grad
        if family == "resnet":
            assert torch.equal(one, two)
        assert (one - two).abs().max() <= NEAR * one.abs().max()


def test_a_feature_depends_on_its_image_alone():
    """Equal bits whatever was encoded before, in any mode without gradients, and in any batch of the network."""
    backbone, images = build("vit", "onednn")
    first = [backbone.encode(image) for image in images]
    with torch.inference_mode():
        again = [backbone.encode(image) for image in reversed(images)]
    assert all(torch.equal(one, two) for one, two in zip(first, reversed(again), strict=True))
    layer = backbone.network(images[0]).blocks[0].mlp.fc1
    rows = torch.randn(3, 65, 96)
    assert torch.equal(layer(rows), torch.cat([layer(row[None]) for row in rows]))


def test_features_do_not_depend_on_the_number_of_threads():
    backbone, images = build("vit", "onednn")
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(backbone.network(images[0]).blocks[0].mlp(torch.ones(1, 65, 96).cumsum(1)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda method: pickle.loads(pickle.dumps(method))])
def test_a_copy_and_a_pickle_give_the_same_bits(copied):
    backbone, images = build("vit", "onednn")
    expected = backbone.encode(images[0])
    other = copied(backbone)
    assert other.cpu_kernels == "onednn" and torch.equal(other.encode(images[0]), expected)
    assert any(isinstance(module, OneDnnLinear) for module in other.network(images[0]).modules())


def test_other_kernels_begin_with_an_empty_cache_and_the_same_weights():
    backbone, images = build("vit", "default")
    digest, before = backbone.digest, backbone.encode(images[0])

    def cached(value):
        return backbone.cache.get("tokens", "image", lambda: value)

    cached(before)
    backbone.use_cpu_kernels("default")
    assert torch.equal(cached(None), before)
    backbone.use_cpu_kernels("onednn")
    assert torch.equal(cached(images[0]), images[0]) and backbone.digest == digest
    backbone.use_cpu_kernels("default")
    assert torch.equal(backbone.encode(images[0]), before)


def test_a_copy_for_fine_tuning_keeps_layers_that_learn():
    encoder, images = build("classifier", "onednn")
    copy_to_tune = encoder.new_copy(images[0])
    assert not any(isinstance(module, OneDnnLinear) for module in copy_to_tune.modules())


def test_layers_of_another_kind_or_precision_stay():
    class Own(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double(), Own(2, 2), nn.Sequential(nn.Linear(2, 2)))
    kinds = [type(module) for module in use_onednn(network)]
    assert kinds == [OneDnnLinear, nn.Linear, Own, nn.Sequential] and type(network[3][0]) is OneDnnLinear


def test_a_torch_without_the_operators_is_told():
    for attribute, words in (("is_available", "without oneDNN"), (None, "no such operators")):
        onednn_problem.cache_clear()
        target = mock.patch.object(torch.backends.mkldnn, attribute, return_value=False) if attribute else mock.patch(
            "fsbench.backbones.onednn._pack", side_effect=AttributeError
        )  # fmt: skip
        with target:
            assert words in onednn_problem()
    onednn_problem.cache_clear()
    assert onednn_problem() is None
