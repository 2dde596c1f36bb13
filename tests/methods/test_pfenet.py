"""PFENet around its goldens: bins, statistics of the frozen network, checkpoints, refusals, and that it learns."""

import pytest
import torch

from fsbench.methods.modules.pspnet import Features
from fsbench.methods.pfenet import PFENet, PFENetHead, bin_sides
from fsbench.networks.backbones.base import BackboneConfig
from tests.methods.small import data, episode, fit


def on_vgg(**options):
    torch.manual_seed(0)
    backbone = BackboneConfig("dilated_vgg16", "random")
    return PFENet(backbone, **{"width": 8, "ppm_scales": [1.0, 0.5]} | options).eval()


def test_bins_are_sides_or_shares():
    assert bin_sides([60, 30, 15, 8], 30) == [60, 30, 15, 8]  # a bin may be larger than the map
    assert bin_sides([1.0, 0.5, 0.25, 0.125], 41) == [41, 20, 10, 5]


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


@pytest.mark.slow(2)
def test_without_training_both_ways_are_the_same(blocks_folder):
    found, ways = episode(data(blocks_folder, shot=2)), (on_vgg(), on_vgg(backbone_bn="eval"))
    ways[1].head.load_state_dict(ways[0].head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ways[0](found).logits, ways[1](found).logits, atol=1e-5, rtol=1e-5)


def test_shots_count_alike_in_any_order():
    """Prototypes and priors are means over the shots (pfenet-method.md §7)."""
    torch.manual_seed(0)
    head = PFENetHead((4, 6), 8, [1.0, 0.5]).eval()
    maps = [torch.randn(1 + 2, channels, side, side) for channels, side in ((4, 8), (6, 8), (5, 8))]
    query, support = ([part[rows] for part in maps] for rows in (slice(0, 1), slice(1, 3)))
    labels = torch.zeros(1, 2, 64, 64, dtype=torch.uint8)
    labels[:, 0, 8:30, 8:40] = labels[:, 1, 30:60, 20:50] = 1
    with torch.no_grad():
        found = head(Features(*query, None), Features(*support, None), labels).logits
        turned = head(
            Features(*query, None), Features(*(part.flip(0) for part in support), None), labels.flip(1)
        ).logits
        alone = head(Features(*query, None), Features(*(part[:1] for part in support), None), labels[:, :1]).logits
    torch.testing.assert_close(found, turned)
    assert (found - alone).abs().max() > 1e-3


def test_parameters_are_counted_once():
    method = on_vgg()
    assert method.num_trainable_parameters(1) == sum(p.numel() for p in method.parameters() if p.requires_grad)
