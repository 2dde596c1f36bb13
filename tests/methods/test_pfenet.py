"""PFENet around its goldens: bins, statistics of the frozen network, checkpoints, refusals, and that it learns."""

import pytest
import torch

from fsbench.backbones.base import BackboneConfig
from fsbench.errors import SettingsError
from methods.pfenet import PFENet, bin_sides
from tests.methods.hmnet.small import data, episode, fit


def on_vgg(**options):
    torch.manual_seed(0)
    backbone = BackboneConfig("dilated_vgg16", "random")
    return PFENet(backbone, **{"width": 8, "ppm_scales": [1.0, 0.5]} | options).eval()


def test_bins_are_sides_or_shares():
    assert bin_sides([60, 30, 15, 8], 30) == [60, 30, 15, 8]  # a bin may be larger than the map
    assert bin_sides([1.0, 0.5, 0.25, 0.125], 41) == [41, 20, 10, 5]
    for scales in ([60, 0.5], [0.1], []):
        with pytest.raises(SettingsError, match="expected sides above 1, or shares of the map up to 1"):
            bin_sides(scales, 8)


def test_statistics_move_in_training_alone_and_only_where_they_are_asked_to(blocks_folder):
    moving, still = on_vgg(), on_vgg(backbone_bn="eval")
    start = {key: value.clone() for key, value in moving.trunk.state_dict().items()}
    module = data(blocks_folder, batch_size=2)
    for method in (moving, still):
        fit(method.train(), module, steps=2)
    moved = {key for key, value in moving.trunk.state_dict().items() if not torch.equal(value, start[key])}
    assert moved == {key for key in start if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    counts = {int(v) for k, v in moving.trunk.state_dict().items() if k.endswith("num_batches_tracked")}
    assert counts == {2 * 2}  # a pass of the queries and one of the supports, in each of two steps
    assert still.trunk is None and not [key for key in still.state_dict() if key.startswith("trunk.")]


def test_a_test_sees_the_statistics_that_were_loaded(blocks_folder):
    """Also of images whose features were kept before: those belong to other statistics."""
    found, method, other = episode(data(blocks_folder)), on_vgg(), on_vgg()
    for module in other.trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.mul_(1.5)
    with torch.no_grad():
        before, expected = method(found).logits, other(found).logits
        method.load_state_dict(other.state_dict())
        assert torch.equal(method(found).logits, expected) and not torch.equal(before, expected)


def test_without_training_both_ways_are_the_same(blocks_folder):
    found, ways = episode(data(blocks_folder, shot=2)), (on_vgg(), on_vgg(backbone_bn="eval"))
    ways[1].head.load_state_dict(ways[0].head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ways[0](found).logits, ways[1](found).logits, atol=1e-5, rtol=1e-5)


def test_an_authors_checkpoint_is_split_and_joined():
    method = on_vgg()
    whole = method.released_format.join(method.state_dict(), method.backbone.state)["state_dict"]
    assert {
        "module.init_merge.1.0.weight",
        "module.alpha_conv.0.0.weight",
        "module.layer4.1.running_var",
    } <= whole.keys()
    learned, frozen = method.released_format.split(whole)
    assert learned.keys() == method.state_dict().keys() and frozen.keys() == method.backbone.state.keys()
    kept, _ = on_vgg(backbone_bn="eval").filter_state_dict(learned, "it")
    assert not [key for key in kept if key.startswith("trunk.")]
    assert method.released_format.split({"layer0.0.weight": torch.zeros(1)}) is None


def test_training_lowers_the_loss(blocks_folder):
    method, losses = on_vgg(learning_rate=1e-2).train(), []
    method.log_dict = lambda values, **_: losses.append({k: float(v) for k, v in values.items()})
    fit(method, data(blocks_folder, batch_size=4), steps=16)
    assert set(losses[0]) == {"train/loss", "train/main", "train/inner"}
    assert sum(x["train/loss"] for x in losses[-4:]) < sum(x["train/loss"] for x in losses[:4])


def test_parameters_are_counted_once():
    method = on_vgg()
    assert method.num_trainable_parameters(1) == sum(p.numel() for p in method.parameters() if p.requires_grad)


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingsError, match="backbone_bn train needs the layers of a dilated network, found demo"):
        PFENet(BackboneConfig("demo"), ppm_scales=[1.0])
    with pytest.raises(SettingsError, match="aux_weight is -1, expected 0 or more"):
        on_vgg(aux_weight=-1)
