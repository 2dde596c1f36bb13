"""DINOv2 with registers, its giant, and DINOv3: names of weights, tokens, clear errors."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import (
    VITS,
    FrozenViT,
    ViT,
    build_vit,
    create_network,
    dino_to_timm_names,
    new_vit,
    patch_maps,
    resize_position_table,
)
from fsbench.networks.weights.table import WeightFile

REGISTERS = {"patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "init_values": 1e-5, "reg_tokens": 4}
REGISTERS["no_embed_class"] = True
GIANT = {
    "network": "vit_giant_patch14_dinov2", "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2
}  # fmt: skip
DINOV3 = {
    "network": "vit_small_patch16_dinov3_qkvb", "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2,
    "global_pool": "token",
}  # fmt: skip


def noise(arguments: dict[str, Any], size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random values for every weight under timm's names."""
    rng = torch.Generator().manual_seed(seed)
    return {k: 0.3 * torch.randn(v.shape, generator=rng) for k, v in new_vit(arguments, size).state_dict().items()}


@pytest.fixture
def dinov3(monkeypatch, tmp_path):
    spec = ViT(DINOV3, table_side=4, weights=WeightFile(str(tmp_path / "tiny.pth"), "p"), rotary=True)
    monkeypatch.setitem(VITS, "tiny", spec)
    return spec


def authors_dinov3(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's names turned into those of Meta's files, with what they hold besides."""
    renamed = {"mask_token": torch.zeros(1, 16), "rope_embed.periods": torch.ones(4)}
    for key, value in state.items():
        if key.endswith("v_bias"):
            continue
        if key.endswith("q_bias"):
            prefix = key.removesuffix("q_bias")
            bias = torch.cat([value, torch.zeros_like(value), state[f"{prefix}v_bias"]])
            renamed |= {f"{prefix}qkv.bias": bias, f"{prefix}qkv.bias_mask": torch.ones_like(bias)}
            continue
        key = {"reg_token": "storage_tokens"}.get(key, key)
        renamed[key.replace(".gamma_1", ".ls1.gamma").replace(".gamma_2", ".ls2.gamma")] = value
    return renamed


def transformers_dinov3(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's names turned into those of transformers' files."""
    renamed = {"embeddings.mask_token": torch.zeros(1, 1, 16)}
    names = {
        "cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens",
        "patch_embed.proj": "embeddings.patch_embeddings", "blocks.": "layer.", "gamma_1": "layer_scale1.lambda1",
        "gamma_2": "layer_scale2.lambda1", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj",
        "attn.proj": "attention.o_proj", "attn.q_bias": "attention.q_proj.bias",
        "attn.v_bias": "attention.v_proj.bias",
    }  # fmt: skip
    for key, value in state.items():
        for timms, theirs in names.items():
            key = key.replace(timms, theirs)
        if key.endswith("attn.qkv.weight"):
            prefix = key.removesuffix("attn.qkv.weight")
            renamed |= {f"{prefix}attention.{p}_proj.weight": w for p, w in zip("qkv", value.chunk(3), strict=True)}
        else:
            renamed[key] = value
    return renamed


@pytest.mark.parametrize("form", [authors_dinov3, transformers_dinov3, dict])
def test_dinov3_is_read_under_three_kinds_of_names(form):
    state = noise(DINOV3, 64)
    found = dino_to_timm_names(form(state))
    assert found.keys() - {"rope.periods"} == state.keys() and ("rope.periods" in found) == (form is authors_dinov3)
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_the_periods_of_a_file_are_those_of_its_positions(dinov3, tmp_path):
    """Meta's files bring their own, rounded ones; files without any have timm's."""
    state, image = noise(DINOV3, 64), torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    plain: Any = build_vit(DINOV3, state, 64, 64)
    maps = {}
    for name, periods in {
        "fp32": plain.rope.periods,
        "rounded": plain.rope.periods * 1.002,
        "other": torch.ones(3),
    }.items():
        file = tmp_path / f"{name}.pth"
        torch.save(authors_dinov3(state) | {"rope_embed.periods": periods}, file)
        if name == "other":
            with pytest.raises(CheckpointError, match=r"other shape: rope.periods \(3,\) instead of \(\d+,\)"):
                FrozenViT(BackboneConfig("tiny", str(file)))
            continue
        backbone = FrozenViT(BackboneConfig("tiny", str(file)))
        assert torch.equal(backbone.network(image).rope.periods, periods.float())
        assert backbone.identity_settings == {"rope_periods": "file"}
        maps[name] = backbone.patch_map(image)
    assert torch.equal(maps["fp32"], patch_maps(plain, image[None], norm=True)[0])
    assert 1e-6 < (maps["fp32"] - maps["rounded"]).abs().max() < 0.1
    assert FrozenViT(BackboneConfig("tiny", "random")).identity_settings == {}


def test_scaled_coordinates_are_those_of_one_pass_and_one_is_none(dinov3):
    image = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1))
    backbone = FrozenViT(BackboneConfig("tiny", "random"))
    backbone.replace_weights(noise(DINOV3, 64), "noise")
    plain = backbone.patch_map(image)
    assert torch.equal(backbone.patch_map(image, coordinate_factors=[1.0, 1.0]), plain)
    scaled = [backbone.patch_map(image, coordinate_factors=factors) for factors in ([2.0, 1.0], [1.0, 2.0])]
    assert not torch.equal(scaled[0], plain) and not torch.equal(*scaled)
    assert torch.equal(backbone.patch_map(image), plain)


def test_registers_are_read_and_the_class_token_takes_its_position():
    """Against the authors' way, written out: registers between class and patches, without a position."""
    state = noise(REGISTERS, 20)
    rng = torch.Generator().manual_seed(1)
    theirs = {k: v for k, v in state.items() if k not in ("reg_token", "pos_embed")} | {
        "register_tokens": state["reg_token"],
        "pos_embed": torch.randn(1, 26, 8, generator=rng),
        "mask_token": torch.zeros(1, 8),
    }
    image = torch.randn(3, 24, 28, generator=rng)
    frozen = build_vit(REGISTERS, theirs, 24, 28)
    grid = theirs["pos_embed"][:, 1:].view(1, 5, 5, 8).permute(0, 3, 1, 2)
    positions = F.interpolate(grid, (6, 7), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    model: Any = frozen
    with torch.no_grad():
        patches = model.patch_embed(image[None]) + positions
        first = theirs["cls_token"] + theirs["pos_embed"][:, :1]
        x = torch.cat([first, theirs["register_tokens"], patches], 1)
        for block in model.blocks:
            x = block(x)
        expected = model.norm(x)
        found = model.forward_features(image[None])
    torch.testing.assert_close(found, expected)


def test_a_table_without_a_class_position_keeps_its_own_size():
    table = torch.randn(1, 25, 3)
    assert resize_position_table(table, 5, 5) is table
    assert resize_position_table(table, 4, 7).shape == (1, 28, 3)


def test_the_giants_gated_layers_are_its_authors():
    state = noise(GIANT, 16)
    theirs = {k.replace(".fc1.", ".w12.").replace(".fc2.", ".w3."): v for k, v in state.items()}
    assert any(".w12." in key for key in theirs)
    model: Any = build_vit(GIANT, theirs, 16, 16)
    x = torch.randn(2, 12, generator=torch.Generator().manual_seed(2))
    gate, value = F.linear(x, theirs["blocks.0.mlp.w12.weight"], theirs["blocks.0.mlp.w12.bias"]).chunk(2, 1)
    expected = F.linear(F.silu(gate) * value, theirs["blocks.0.mlp.w3.weight"], theirs["blocks.0.mlp.w3.bias"])
    torch.testing.assert_close(model.blocks[0].mlp(x), expected)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("dinov2_vits14_reg", 21), ("dinov3_vits16", 21), ("dinov3_vits16_timm", 21), ("dinov3_vitb16", 86),
        *(pytest.param(name, millions, marks=pytest.mark.slow) for name, millions in {
            "dinov2_vitb14": 86, "dinov2_vitl14": 300, "dinov2_vitg14": 1100, "dinov2_vitg14_reg": 1100,
            "dinov3_vitl16": 300,
        }.items()),
    ],
)  # fmt: skip
def test_sizes_have_the_published_numbers_of_parameters(name, millions):
    """In millions, as the authors' tables state them."""
    with torch.device("meta"):
        state = new_vit(VITS[name].arguments, VITS[name].image_size).state_dict()
    assert abs(sum(v.numel() for v in state.values()) / 1e6 / millions - 1) < 0.06


def test_tokens_leave_registers_out_and_one_blocks_map_is_part_of_them(dinov3):
    frozen = FrozenViT(BackboneConfig("tiny", "random:2"))
    pixels = torch.randn(3, 64, 48, generator=torch.Generator().manual_seed(3))
    tokens = frozen.encode(pixels)
    assert tokens.shape == (2, 1 + 12, 16)
    for block in (0, 1, -1):
        expected = tokens[block, 1:].T.reshape(16, 4, 3)
        torch.testing.assert_close(frozen.patch_map(pixels, block=block), expected)
    raw = frozen.patch_map(pixels, norm=False).flatten(1).T
    model: Any = frozen.network(pixels)
    torch.testing.assert_close(model.norm(raw), tokens[-1, 1:])
    assert not torch.allclose(raw, tokens[-1, 1:], atol=1e-2)


def test_weights_that_are_given_on_request_say_how_to_get_them():
    with pytest.raises(CheckpointError) as error:
        FrozenViT(BackboneConfig("dinov3_vitb16", "/nowhere/x.pth"))
    for part in ("ask for access", "github.com/facebookresearch/dinov3", "fetch dinov3_vitb16 --from DIR"):
        assert part in str(error.value)


@pytest.mark.parametrize("given", ["None", "/nowhere/x.pth"])
def test_weights_of_the_demo_that_are_elsewhere_say_what_to_give(given):
    message = rf"^the weights of the backbone demo are not at {given}; expected a file, random or random:SEED; leave"
    with pytest.raises(CheckpointError, match=message):
        FrozenViT(BackboneConfig("demo", given))


def test_a_network_that_timm_lacks_is_one_line():
    with pytest.raises(SettingsError, match=r"^timm [\d.]+\w* has no network 'vit_nothing'; expected .*upgrade timm$"):
        create_network("vit_nothing")


def test_weights_of_another_training_do_not_pass_for_dinov3s(dinov3):
    """timm's variant without biases of queries and values."""
    state = {k: v for k, v in noise(DINOV3, 64).items() if not k.endswith(("q_bias", "v_bias"))}
    frozen = FrozenViT(BackboneConfig("tiny", "random"))
    with pytest.raises(CheckpointError, match=r"missing: blocks\.0\.attn\.q_bias"):
        frozen.replace_weights(state, "no biases")
    assert replace(dinov3, table_side=3).image_size == 48
