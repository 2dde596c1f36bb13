"""Frozen vision transformers: DINO, DINOv2 and DINOv3; names of weights, position tables, tokens, clear errors."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.base.files import sha256_file
from fsbench.base.paths import weights_folder
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import (
    VITS,
    Encoder,
    FrozenPyramid,
    FrozenViT,
    ViT,
    build_vit,
    create_network,
    dino_to_timm_names,
    new_vit,
    patch_maps,
    random_state,
    resize_position_table,
)
from fsbench.networks.weights.table import WeightFile

TINY = dict(patch_size=4, embed_dim=8, depth=2, num_heads=2)
CST = "dino_vits8_300ep"
REGISTERS = {"patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2, "init_values": 1e-5, "reg_tokens": 4}
REGISTERS["no_embed_class"] = True
GIANT = {
    "network": "vit_giant_patch14_dinov2", "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2
}  # fmt: skip
DINOV3 = {
    "network": "vit_small_patch16_dinov3_qkvb", "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2,
    "global_pool": "token",
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A tiny transformer under the name "tiny", and its official weights file (absent)."""
    vit = type(VITS["dinov2_vits14"])(TINY, table_side=5, weights=WeightFile(str(tmp_path / "tiny.pth"), "p"))
    monkeypatch.setitem(VITS, "tiny", vit)
    return vit


def noise(arguments: dict[str, Any], size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random values for every weight under timm's names."""
    rng = torch.Generator().manual_seed(seed)
    return {k: 0.3 * torch.randn(v.shape, generator=rng) for k, v in new_vit(arguments, size).state_dict().items()}


@pytest.fixture
def dinov3(monkeypatch, tmp_path):
    spec = ViT(DINOV3, table_side=4, weights=WeightFile(str(tmp_path / "tiny.pth"), "p"), rotary=True)
    monkeypatch.setitem(VITS, "tiny", spec)
    monkeypatch.setitem(Encoder.known, "tiny", spec)
    return spec


@pytest.mark.slow(2)
def test_timm_builds_the_same_architectures():
    """Our arguments are those that timm registers for these models."""
    for ours, theirs in (("dinov2_vits14", "vit_small_patch14_dinov2"), ("dino_vits8", "vit_small_patch8_224")):
        side = VITS[ours].table_side * VITS[ours].arguments["patch_size"]
        model = timm.create_model(theirs, pretrained=False, num_classes=0, img_size=side)
        state = random_state(VITS[ours], 0)
        assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in state.items()}


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


def test_dinov2_has_the_published_number_of_parameters():
    state = random_state(VITS["dinov2_vits14"], 0)
    assert sum(t.numel() for t in state.values()) + 384 == 22_056_576  # and the mask token, which timm leaves out


def test_a_position_table_is_untouched_at_its_own_size_only():
    for first in (1, 0):  # with a class position, and without
        table = torch.randn(1, first + 25, 3)
        assert resize_position_table(table, 5, 5) is table
        assert resize_position_table(table, 5, 7).shape == (1, first + 35, 3)
        torch.testing.assert_close(resize_position_table(table, 9, 9)[:, :first], table[:, :first])


def test_timms_own_resize_is_another_one():
    """Why the table is resized here (emat.md §1.2): timm's result differs by about a tenth of the table's spread."""
    from timm.layers import resample_abs_pos_embed

    torch.manual_seed(0)
    table = torch.randn(1, 1 + 37 * 37, 3)
    ours = resize_position_table(table, 50, 50)
    theirs = resample_abs_pos_embed(table, (50, 50), num_prefix_tokens=1)
    rms = float((ours - theirs).square().mean().sqrt())
    assert 0.08 < rms < 0.14


def test_random_weights_follow_the_seed_and_leave_the_generator_alone(tiny):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    states = [FrozenViT(BackboneConfig("tiny", f"random:{seed}")).state for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(states[0]["pos_embed"], states[1]["pos_embed"])
    assert not torch.equal(states[0]["pos_embed"], states[2]["pos_embed"])


def test_weights_from_pth_and_safetensors_are_the_same(tiny, tmp_path):
    state = random_state(tiny, 0) | {"mask_token": torch.zeros(1, 8)}
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    pixels = torch.randn(3, 20, 20)
    tokens = [
        FrozenViT(BackboneConfig("tiny", str(tmp_path / f"w.{s}"))).encode(pixels) for s in ("pth", "safetensors")
    ]
    assert torch.equal(*tokens)


ELSEWHERE = "/nowhere/x.pth"


@pytest.mark.parametrize(
    ("kind", "name", "parts"),
    [
        (FrozenViT, "dinov2_vits14", ["weights fetch dinov2_vits14", "dinov2_vits14_pretrain.pth", "b938bf1bc15cd2ec"]),
        (FrozenTrunk, "dilated_resnet50", ["no program can fetch them", "weights fetch dilated_resnet50 --from DIR"]),
        (FrozenViT, "dinov3_vitb16", ["ask for access", "facebookresearch/dinov3", "dinov3_vitb16 --from DIR"]),
        (FrozenPyramid, "resnet50", ["resnet50_a1h-35c100f8.pth", "sha256 35c100f8…", "--weights random"]),
        (FrozenViT, "demo", ["of the backbone demo are not at /nowhere/x.pth; expected a file, random or random:SEED"]),
    ],
)
def test_missing_weights_say_how_to_get_them(kind, name, parts):
    with pytest.raises(CheckpointError) as error:
        kind(BackboneConfig(name, ELSEWHERE))
    assert ELSEWHERE in str(error.value) and "0 bytes" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_weights_that_do_not_fit_name_the_keys(tiny, tmp_path):
    state = random_state(tiny, 0)
    state["extra"] = state.pop("norm.bias")
    state["cls_token"] = torch.zeros(1, 1, 9)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"missing: norm.bias.*not known: extra.*cls_token \(1, 1, 9\) instead of"
    ):
        FrozenViT(BackboneConfig("tiny", str(tmp_path / "w.pth")))


def test_first_features_are_kept(tiny):
    frozen = FrozenViT(BackboneConfig("tiny", "random"))
    pixels = torch.randn(3, 20, 20)
    first = frozen.cache.get("query", "a", lambda: frozen.encode(pixels))
    assert frozen.cache.get("query", "a", lambda: frozen.encode(pixels)) is first
    frozen.encode(torch.randn(3, 24, 24))  # a key names an image of one size
    assert frozen.cache.get("query", "a", lambda: frozen.encode(pixels)) is first


def test_cst_of_2023_takes_its_own_training_of_dino(monkeypatch, tmp_path):
    """The small stand-in is laid out as DINO's release: a bare state dict without a head, on a 28 x 28 grid."""
    torch.manual_seed(0)
    net = dict(patch_size=8, embed_dim=8, depth=2, num_heads=2)
    names = {name: f"dino_deitsmall8{part}_pretrain.pth" for name, part in (("dino_vits8", ""), (CST, "_300ep"))}
    assert {name: VITS[name].weights.url.split("/")[-1] for name in names} == names
    for name, file in names.items():
        path = tmp_path / file
        state = {key: torch.randn_like(value) for key, value in random_state(ViT(net, 28, WeightFile("")), 0).items()}
        torch.save(state, path)
        digest = sha256_file(path) if VITS[name].weights.checksum else ""
        assert VITS[name].weights.path == weights_folder() / file
        weights = replace(VITS[name].weights, file=str(path), sha256=digest[:6])
        monkeypatch.setitem(VITS, name, replace(VITS[name], arguments=net, weights=weights))

    frozen = FrozenViT(BackboneConfig(CST))  # the last state that was written
    assert frozen.weights_id.startswith(f"unverified {names[CST]} sha256 ")
    assert torch.equal(frozen.state["pos_embed"], state["pos_embed"])
    assert frozen.encode(torch.randn(3, 32, 32)).shape == (2, 1 + 16, 8)
    with pytest.raises(CheckpointError) as error:
        FrozenViT(BackboneConfig(CST, VITS["dino_vits8"].weights.file))
    assert str(error.value).endswith(
        "is the official file dino_deitsmall8_pretrain.pth of the backbone dino_vits8; expected "
        "dino_deitsmall8_300ep_pretrain.pth; give that file with --weights FILE, or take --backbone dino_vits8"
    )
    torch.save(state | {"head.weight": torch.zeros(2, 8)}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match=r"1 keys not known: head\.weight"):
        FrozenViT(BackboneConfig(CST, str(tmp_path / "head.pth")))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({"patch_size": 8}, "patches of 8 pixels and no registers"),
        ({"reg_tokens": 4, "no_embed_class": True}, "patches of 4 pixels and 4 registers"),
    ],
)
def test_weights_of_other_tokens_are_one_clear_line(tiny, tmp_path, other, found):
    arguments = VITS["tiny"].arguments
    torch.save(random_state(ViT(arguments | other, 4, WeightFile("")), 0), tmp_path / "w.pth")
    with pytest.raises(CheckpointError) as error:
        FrozenViT(BackboneConfig("tiny", str(tmp_path / "w.pth")))
    assert str(error.value) == (
        f"backbone weights for tiny are of a network with {found}; expected a network with patches of 4 pixels and no "
        "registers; name the backbone of these weights (--backbone, see: fsbench list), or give this one's (--weights)"
    )


def test_unknown_backbone_and_image_size(tiny):
    with pytest.raises(SettingsError, match=r"unknown backbone 'resnet'; there are: .*dinov2_vits14"):
        FrozenViT(BackboneConfig("resnet"))
    with pytest.raises(
        SettingsError,
        match=r"'resnet50' is no vision transformer; there are: .*dinov2_vits14.*; the weights of these are here: demo",
    ):
        FrozenViT(BackboneConfig("resnet50"))
    with pytest.raises(SettingsError, match="weights are 'random:x', expected a file, random or random:SEED"):
        FrozenViT(BackboneConfig("tiny", "random:x"))
    with pytest.raises(
        SettingsError,
        match=r"22x24 is not a multiple of the backbone's patch size 4; expected such as 20 or 24 \(--data",
    ):
        FrozenViT(BackboneConfig("tiny", "random")).encode(torch.randn(3, 22, 24))


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
        encoder = Encoder(BackboneConfig("tiny", str(file)))
        assert torch.equal(encoder.network(image).rope.periods, periods.float()) and encoder.digest == backbone.digest
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


def test_the_giants_gated_layers_are_its_authors():
    state = noise(GIANT, 16)
    theirs = {k.replace(".fc1.", ".w12.").replace(".fc2.", ".w3."): v for k, v in state.items()}
    assert any(".w12." in key for key in theirs)
    model: Any = build_vit(GIANT, theirs, 16, 16)
    x = torch.randn(2, 12, generator=torch.Generator().manual_seed(2))
    gate, value = F.linear(x, theirs["blocks.0.mlp.w12.weight"], theirs["blocks.0.mlp.w12.bias"]).chunk(2, 1)
    expected = F.linear(F.silu(gate) * value, theirs["blocks.0.mlp.w3.weight"], theirs["blocks.0.mlp.w3.bias"])
    torch.testing.assert_close(model.blocks[0].mlp(x), expected)


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
