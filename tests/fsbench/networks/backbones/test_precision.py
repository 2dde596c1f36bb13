"""Frozen networks that compute in a narrower type than the run."""

import pytest
import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.methods.dense_probes.lora_probe import LoraProbeDense
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, in_float32
from fsbench.networks.backbones.timm_networks import Encoder, FrozenPyramid, FrozenViT

PIXELS = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0))
ODD = torch.randn(3, 33, 33, generator=torch.Generator().manual_seed(0))
NETWORKS = [
    (FrozenViT, "demo", PIXELS),
    (FrozenPyramid, "demo", PIXELS),
    (Encoder, "demo", PIXELS),
    pytest.param(FrozenPyramid, "efficientnet_lite0", PIXELS, marks=pytest.mark.slow(1)),
    pytest.param(FrozenTrunk, "dilated_resnet50", ODD, marks=pytest.mark.slow(3)),
]


def tensors(features: object) -> list[Tensor]:
    if isinstance(features, Tensor):
        return [features]
    return [one for one in features if one is not None]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "name", "pixels"), NETWORKS, ids=lambda value: getattr(value, "__name__", None))
def test_features_are_those_of_torchs_own_autocast_on_the_plain_network(
    kind: type[FrozenBackbone], name: str, pixels: Tensor
):
    plain, narrow = (kind(BackboneConfig(name, "random:1", precision=p)) for p in ("fp32", "bf16"))
    wide = tensors(plain.encode(pixels))
    with torch.autocast("cpu", torch.bfloat16):
        expected = tensors(in_float32(plain.encode(pixels)))
    assert type(narrow.encode(pixels)) is type(plain.encode(pixels))
    together = narrow.encode_together(pixels[None])[0]
    for found, batched, reference, exact in zip(
        tensors(narrow.encode(pixels)), tensors(together), expected, wide, strict=True
    ):
        assert found.dtype == batched.dtype == torch.float32
        assert torch.equal(found, reference) and torch.equal(found, batched)
        distance = (found - exact).norm() / exact.norm()
        assert 1e-5 < distance < 0.05  # bfloat16 has 8 bits


@pytest.mark.slow(2)
def test_maps_of_one_block_and_a_last_layer_are_computed_in_it_too():
    vit = FrozenViT(BackboneConfig("demo", "random:1", precision="bf16"))
    assert torch.equal(vit.patch_map(PIXELS), vit.encode(PIXELS)[-1, 1:].T.unflatten(1, (8, 8)))
    trunk = FrozenTrunk(BackboneConfig("dilated_resnet50", "random:1", precision="bf16"))
    features = trunk.encode(ODD)
    assert torch.equal(trunk.last_layer(features.f2[None])[0], features.f3)


def test_a_method_that_tunes_its_network_refuses_another_precision():
    config = BackboneConfig("demo", "random", precision="bf16")
    message = "backbone_precision is bf16, which is for frozen networks, but the method tunes copies of its own; leave"
    with pytest.raises(SettingsError, match=message):
        LoraProbeDense(config)
    with pytest.raises(SettingsError, match=message):
        Encoder(config).check_tunable()
