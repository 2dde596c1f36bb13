"""Encoders of classifiers: parameters, features of the authors' weights, and those that are refused."""

import pytest
import torch
from torch import nn

from fsbench.base.errors import CheckpointError
from fsbench.core.classifier import Classifier
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import ENCODERS, Encoder, build_encoder_network


@pytest.mark.slow(2)
def test_trained_parameters(experiment):
    for name, inside in {"ft": None, "lora": 4 * 6 * (96 + 288 + 96 + 96), "vpt": 6 * 10 * 96}.items():
        method: Classifier = experiment(name).method
        whole = sum(t.numel() for t in method.backbone.state.values())
        assert method.num_trainable_parameters(5) == (whole if inside is None else inside) + 97 * 5
        assert method.num_parameters(5) == (whole if inside is None else whole + inside) + 97 * 5
    assert (
        experiment("lp").method.num_trainable_parameters(5) == 97 * 5
        and experiment("nn").method.num_trainable_parameters(5) == 0
    )


@pytest.mark.slow(3)
def test_a_swin_of_its_authors_loads_and_gives_the_same_feature(tmp_path):
    """Merging layers are counted to the stage before in their file; buffers, head and mask are not needed (§5)."""
    spec = ENCODERS["ibot_swin_tiny"]
    torch.manual_seed(0)
    own = build_encoder_network(spec).eval()
    theirs = {}
    for name, value in own.state_dict().items():
        parts = name.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        theirs[".".join(parts)] = value
    theirs |= {"masked_embed": torch.zeros(1, 96), "head.weight": torch.zeros(3, 768), "head.bias": torch.zeros(3)}
    file = tmp_path / "teacher.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in theirs.items()}}, file)
    image = torch.randn(3, 224, 224)
    encoder = Encoder(BackboneConfig("ibot_swin_tiny", str(file)))
    with torch.no_grad():
        expected = own.forward_features(image[None]).mean((1, 2))[0]  # of the tokens after the final norm
    assert encoder.width == 768 and torch.allclose(encoder.encode(image), expected, atol=1e-6)
    torch.save({"state_dict": {k: v for k, v in theirs.items() if k != "norm.bias"}}, file)
    with pytest.raises(CheckpointError, match=r"1 keys missing: norm\.bias"):
        Encoder(BackboneConfig("ibot_swin_tiny", str(file)))


@pytest.mark.slow(3)
def test_clip_gives_unit_features_of_its_own_activation():
    encoder = Encoder(BackboneConfig("clip_vitb16", "random"))
    feature = encoder.encode(torch.randn(3, 224, 224))
    assert encoder.width == 512 and feature.shape == (512,) and float(feature.norm()) == pytest.approx(1, abs=1e-5)
    kinds = {type(m).__name__ for m in encoder.network(torch.zeros(3, 224, 224)).modules()}
    assert "QuickGELU" in kinds and nn.GELU.__name__ not in kinds
