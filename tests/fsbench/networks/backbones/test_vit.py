"""Frozen transformers: weights, position table, clear errors."""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.base.files import sha256_file
from fsbench.base.paths import weights_folder
from fsbench.methods.modules.frozen_pspnet import FrozenTrunk
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import (
    VITS,
    FrozenViT,
    ViT,
    build_vit,
    random_state,
    resize_position_table,
)
from fsbench.networks.weights.table import WeightFile

TINY = dict(patch_size=4, embed_dim=8, depth=2, num_heads=2)
CST = "dino_vits8_300ep"


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A tiny transformer under the name "tiny", and its official weights file (absent)."""
    vit = type(VITS["dinov2_vits14"])(TINY, table_side=5, weights=WeightFile(str(tmp_path / "tiny.pth"), "p"))
    monkeypatch.setitem(VITS, "tiny", vit)
    return vit


@pytest.mark.slow(2)
def test_timm_builds_the_same_architectures():
    """Our arguments are those that timm registers for these models."""
    for ours, theirs in (("dinov2_vits14", "vit_small_patch14_dinov2"), ("dino_vits8", "vit_small_patch8_224")):
        side = VITS[ours].table_side * VITS[ours].arguments["patch_size"]
        model = timm.create_model(theirs, pretrained=False, num_classes=0, img_size=side)
        state = random_state(VITS[ours], 0)
        assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in state.items()}


def test_dinov2_has_the_published_number_of_parameters():
    state = random_state(VITS["dinov2_vits14"], 0)
    assert sum(t.numel() for t in state.values()) + 384 == 22_056_576  # and the mask token, which timm leaves out


def test_position_table_is_untouched_at_its_own_size_only():
    table = torch.randn(1, 26, 3)
    assert resize_position_table(table, 5, 5) is table
    assert resize_position_table(table, 5, 7).shape == (1, 36, 3)
    torch.testing.assert_close(resize_position_table(table, 9, 9)[:, 0], table[:, 0])


def test_timms_own_resize_is_another_one():
    """Why the table is resized here (emat.md §1.2): timm's result differs by about a tenth of the table's spread."""
    from timm.layers import resample_abs_pos_embed

    torch.manual_seed(0)
    table = torch.randn(1, 1 + 37 * 37, 3)
    ours = resize_position_table(table, 50, 50)
    theirs = resample_abs_pos_embed(table, (50, 50), num_prefix_tokens=1)
    rms = float((ours - theirs).square().mean().sqrt())
    assert 0.08 < rms < 0.14


def test_tokens_of_all_blocks_with_the_final_norm(tiny):
    frozen = FrozenViT(BackboneConfig("tiny", "random:3"))
    pixels = torch.randn(3, 24, 24)
    tokens = frozen.encode(pixels)
    assert tokens.shape == (2, 1 + 36, 8)
    model = build_vit(TINY, random_state(tiny, 3), 24, 24)
    x = model.norm_pre(model._pos_embed(model.patch_embed(pixels[None])))
    for layer, block in enumerate(model.blocks):
        x = block(x)
        torch.testing.assert_close(tokens[layer], model.norm(x)[0])
    assert not any(p.requires_grad for p in model.parameters()) and not model.training


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


def test_missing_weights_say_what_to_fetch_and_where_to_put_it():
    with pytest.raises(CheckpointError) as error:
        FrozenViT(BackboneConfig("dinov2_vits14", "/nowhere/x.pth"))
    for part in (
        "/nowhere/x.pth",
        "fsbench weights fetch dinov2_vits14",
        "dinov2_vits14_pretrain.pth",
        "github.com/facebookresearch/dinov2",
        "b938bf1bc15cd2ec",
    ):
        assert part in str(error.value)


def test_missing_weights_that_only_a_person_can_get():
    with pytest.raises(CheckpointError) as error:
        FrozenTrunk(BackboneConfig("dilated_resnet50", "/nowhere/x.pth"))
    for part in ("no program can fetch them", "github.com/hszhao/semseg", "weights fetch dilated_resnet50 --from DIR"):
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
    frozen.encode(torch.randn(3, 24, 24))  # features of another image size are of no use
    assert frozen.cache.get("query", "a", lambda: frozen.encode(pixels)) is not first


class Evil:
    def __reduce__(self):
        return (print, ("pickled code ran",))


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
        "dino_deitsmall8_300ep_pretrain.pth; give that file with WEIGHTS=<file>, or take BACKBONE=dino_vits8"
    )
    torch.save(state | {"head.weight": torch.zeros(2, 8)}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match=r"1 keys not known: head\.weight"):
        FrozenViT(BackboneConfig(CST, str(tmp_path / "head.pth")))


def test_pickled_code_is_never_run(tiny, tmp_path, capsys):
    torch.save({"x": Evil()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="cannot read"):
        FrozenViT(BackboneConfig("tiny", str(tmp_path / "w.pth")))
    assert "pickled code ran" not in capsys.readouterr().out


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
        f"backbone weights for tiny are of a network with {found}; expected patches of 4 pixels and no registers; name "
        "the backbone of these weights (BACKBONE=, see: fsbench list), or give this one's (WEIGHTS=)"
    )


def test_unknown_backbone_and_image_size(tiny):
    with pytest.raises(SettingsError, match=r"unknown backbone 'resnet'; there are: .*dinov2_vits14"):
        FrozenViT(BackboneConfig("resnet"))
    with pytest.raises(SettingsError, match=r"the backbone 'resnet50' gives no tokens; there are: .*dinov2_vits14"):
        FrozenViT(BackboneConfig("resnet50"))
    with pytest.raises(SettingsError, match="weights are 'random:x', expected a file, random or random:SEED"):
        FrozenViT(BackboneConfig("tiny", "random:x"))
    with pytest.raises(
        SettingsError,
        match=r"22x24 is not a multiple of the backbone's patch size 4; expected such as 20 or 24 \(--data",
    ):
        FrozenViT(BackboneConfig("tiny", "random")).encode(torch.randn(3, 22, 24))
