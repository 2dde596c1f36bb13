"""VRP-SAM around its goldens: annotations, shots, ways, what is kept of frozen networks, checkpoints, and training."""

import pytest
import torch

from fsbench.backbones.beside_sam import BesideSamConfig
from fsbench.contract.episodes import segmentation_episode
from fsbench.errors import CheckpointError, SettingsError
from methods.modules.pspnet import Trunk
from methods.vrp_sam import VRPSAM
from methods.vrp_sam.encoder import pseudo_mask, pseudo_mask_plain
from methods.vrp_sam.loss import mask_losses
from tests.methods.hmnet.small import data, fit

pytest.importorskip("transformers")


def on_demo(**options) -> VRPSAM:
    torch.manual_seed(0)
    backbone = BesideSamConfig("demo", sam="sam_demo", sam_weights="random:1")
    return VRPSAM(backbone, **{"width": 32, "prompts": 6} | options).eval()


def on_vgg(**options) -> VRPSAM:
    torch.manual_seed(0)
    backbone = BesideSamConfig("vrp_vgg16", "random", sam="sam_demo")
    return VRPSAM(backbone, **{"width": 32, "prompts": 6} | options).eval()


def episode(ways: int = 1, shots: int = 1, number: int = 0):
    return segmentation_episode(0, number, ways, shots, 64).without_truth()


def test_only_foreground_cells_are_compared():
    """The fast way is the formula's, also where the mask is fractional, empty or full."""
    torch.manual_seed(0)
    support, query = torch.randn(4, 12, 9, 9), torch.randn(4, 12, 9, 9)
    masks = torch.zeros(4, 1, 9, 9)
    masks[0, :, 2:5, 3:7], masks[1], masks[3, :, 4, 4] = 1, 1, 0.25
    found, expected = (way(support, query, masks) for way in (pseudo_mask, pseudo_mask_plain))
    torch.testing.assert_close(found, expected)
    assert not found[2].any() and found[1].min() < found[0].max()


def test_the_first_dilated_blocks_are_dilated_less_than_those_of_pfenets_followers():
    found = {}
    for name, trunk in (("vrp", Trunk("resnet50", (1, 2))), ("others", Trunk("resnet50"))):
        found[name] = [[b.conv2.dilation[0] for b in layer] for layer in (trunk.layer3, trunk.layer4)]
    assert found["vrp"] == [[1, 2, 2, 2, 2, 2], [2, 4, 4]] and found["others"] == [[2] * 6, [4] * 3]


def test_the_number_of_trained_parameters_is_the_papers():
    backbone = BesideSamConfig("vrp_resnet50", "random", sam="sam_vit_b", sam_weights="random")
    assert VRPSAM(backbone).num_trainable_parameters(1) == 1_592_064  # vrp-sam.md §1


def test_annotations_depend_on_seed_and_episode_alone_and_ways_have_their_own():
    method = on_demo(annotation="scribble")
    with torch.no_grad():
        first, again = method(episode(2)).logits, method(episode(2)).logits
        other = on_demo(annotation="scribble", seed=1)(episode(2)).logits
        swapped = episode(2)
        swapped.support, swapped.support_labels = swapped.support.flip(1), swapped.support_labels.flip(1)
        turned = method(swapped).logits
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.testing.assert_close(turned, first.flip(0))


def test_prompts_of_several_shots_are_joined_in_their_order():
    method, several = on_demo(), episode(1, 3)
    with torch.no_grad():
        whole = method.encode_way(several, 0).steps.prompts
        single = []
        for shot in range(3):
            one = episode(1, 3)
            part = slice(shot, shot + 1)
            one.support, one.support_labels = one.support[:, :, part], one.support_labels[:, :, part]
            single.append(method.encode_way(one, 0).steps.prompts)
    torch.testing.assert_close(whole, torch.cat(single))


def test_frozen_networks_see_an_image_once_and_their_graph_is_not_held(blocks_folder, monkeypatch):
    method, seen = on_vgg().train(), []
    for name in ("encode", "encode_square"):
        own = getattr(type(method.backbone), name)
        monkeypatch.setattr(
            type(method.backbone),
            name,
            lambda self, *args, own=own, name=name: (seen.append(name), own(self, *args))[1],
        )
    module = data(blocks_folder, size=32, batch_size=2)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    losses = method.losses_of_step(batch)
    features = method.stages(batch, batch.query.tolist())
    assert not any(x.requires_grad for x in features if x is not None)
    assert not method.sam_encodings(batch, batch.query.tolist()).requires_grad
    losses["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())
    network = method.backbone.sam.promptable(torch.device("cpu")).model
    assert all(p.grad is None for p in network.parameters())
    before = seen.count("encode")
    method.losses_of_step(batch)
    assert before == len(batch.image_names) == seen.count("encode")


def test_void_is_background_in_the_loss_and_a_perfect_mask_has_none():
    masks = torch.zeros(2, 8, 8)
    masks[0, 2:5, 1:4] = 1
    found = mask_losses((masks * 2 - 1) * 50, masks)
    assert {name: round(float(value), 4) for name, value in found.items()} == {"loss": 0, "entropy": 0, "dice": 0}
    wrong = mask_losses(torch.full_like(masks, 50), masks)
    assert float(wrong["dice"]) == pytest.approx(1 - ((2 * 9 + 1) / (64 + 9 + 1) + 1 / 65) / 2, abs=1e-4)


def test_an_authors_checkpoint_is_split_and_joined():
    method = on_vgg()
    whole = method.released_format.join(method.state_dict(), method.backbone.state)
    assert {"module.merge_1.0.weight", "module.layer4.1.running_var"} <= whole.keys()
    assert "module.transformer_decoder.transformer_self_attention_layers_0.0.self_attn.in_proj_weight" in whole
    learned, frozen = method.released_format.split(whole)
    assert learned.keys() == method.state_dict().keys() and frozen.keys() == method.backbone.state.keys()
    bare = {key.removeprefix("module."): value for key, value in whole.items()}
    assert method.released_format.split(bare)[0].keys() == learned.keys()
    assert method.released_format.split({"layer0.0.weight": torch.zeros(1)}) is None
    with pytest.raises(CheckpointError, match="ImageNet weights for vrp_vgg16 cannot be used"):
        method.backbone.replace_weights({k: v for k, v in frozen.items() if "layer4" not in k}, "a file")


def test_what_it_was_told_follows_the_annotation():
    told = {kind: on_demo(annotation=kind).supervision for kind in ("mask", "box", "point", "scribble")}
    assert told == {
        "mask": ("masks",), "box": ("masks", "boxes"), "point": ("masks", "points"), "scribble": ("masks", "scribbles"),
    }  # fmt: skip
    assert on_demo().saw_test_classes == "no"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 64}, "prompts of sam_demo have 32 channels; give --model.width 32"),
        ({"prompts": 0}, "expected a width that is a multiple of twice the heads"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0, expected 0 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        on_demo(**options)


def test_training_has_one_shot_and_a_test_any():
    on_demo().check_shots(5, 1)
    with pytest.raises(SettingsError, match="training_shot is 2, but VRPSAM trains 1-shot"):
        on_demo().check_shots(1, 2)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="'resnet9' gives no features for VRP-SAM"):
        VRPSAM(BesideSamConfig("resnet9", "random", sam="sam_demo"), width=32)
    with pytest.raises(SettingsError, match="sam2_hiera_tiny; expected one of the first generation"):
        VRPSAM(BesideSamConfig("demo", sam="sam2_hiera_tiny", sam_weights="random"))
    with pytest.raises(SettingsError, match="image size 100 does not fit vrp_vgg16; expected a multiple of 8"):
        on_vgg().check_image_size(100)


def test_training_lowers_the_loss(blocks_folder):
    method, losses = on_demo(learning_rate=5e-3).train(), []
    method.log_dict = lambda values, **_: losses.append({k: float(v) for k, v in values.items()})
    trainer = fit(method, data(blocks_folder, size=64, batch_size=4), steps=16)
    assert set(losses[0]) == {"train/loss", "train/entropy", "train/dice"}
    assert sum(x["train/loss"] for x in losses[-4:]) < sum(x["train/loss"] for x in losses[:4])
    group = trainer.optimizers[0].param_groups[0]
    assert group["weight_decay"] == 1e-6 and group["lr"] < 1e-9  # the cosine has come to its end


def test_maps_for_people_are_of_the_query_and_show_what_was_drawn():
    method, given = on_demo(annotation="point"), episode()
    maps = method.query_maps(given)
    assert list(maps) == ["annotation of the support", "pseudo mask", "attention of the prompts"]
    picture, image = maps["annotation of the support"], given.images[given.support[0, 0, 0]].permute(1, 2, 0)
    changed = (picture != image).any(2)
    assert 20 <= int(changed.sum()) <= 20 * 9
    torch.testing.assert_close(maps["attention of the prompts"].sum(), torch.tensor(1.0))
