"""HDMNet around its goldens: what the matching leaves out, supports' backgrounds, shots, what a training moves."""

import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.methods.hdmnet import HDMNet
from fsbench.methods.hdmnet.head import HDMNetHead
from fsbench.methods.hdmnet.transformer import TEMPERATURE, TOGETHER, Matching
from fsbench.methods.modules.pspnet import Features
from fsbench.networks.backbones.base import BackboneConfig
from tests.methods.small import data, episode, fit


def on_vit(**options):
    torch.manual_seed(0)
    return HDMNet(
        BackboneConfig("demo"), **{"width": 8, "transformer_width": 8, "base_learner": False} | options
    ).eval()


def on_pspnet(**options):
    torch.manual_seed(0)
    return HDMNet(BackboneConfig("pspnet_vgg16", "random"), **{"width": 8, "transformer_width": 8} | options).eval()


def whole_matching(net, query, source, mask):
    """The matching by its formula, with all support tokens (hdmnet.md §4.3)."""
    found, maps = [], []
    for head in range(net.heads):
        part = slice(head * 4, head * 4 + 4)
        q, k, v = (
            layer(x)[..., part] for layer, x in ((net.linear_q, query), (net.linear_k, source), (net.linear_v, source))
        )
        cosines = torch.einsum("bmd,bnd->bmn", q / q.norm(dim=2, keepdim=True), k / k.norm(dim=2, keepdim=True))
        scores = cosines / TEMPERATURE
        shares = scores.exp() / scores.exp().sum(1, keepdim=True)
        found.append(torch.einsum("bmn,bn,bnd->bmd", shares, mask, v))
        maps.append((scores * mask[:, None]).sum(2) / (mask.sum(1, keepdim=True) + 1e-9))
    return net.linear_o(torch.cat(found, 2)), torch.stack(maps).mean(0)


def test_support_tokens_outside_of_the_mask_can_be_left_out():
    """Also where samples have different numbers of them, one has none, and there are more than are taken at a time."""
    torch.manual_seed(0)
    net, query, source = (
        Matching(8, 2).double(),
        torch.randn(3, 25, 8).double(),
        torch.randn(3, 3 * TOGETHER, 8).double(),
    )
    mask = torch.zeros(3, 3 * TOGETHER).double()
    mask[0, ::2], mask[1, 5:9] = 1, 1
    for found, expected in zip(net(query, source, mask), whole_matching(net, query, source, mask), strict=True):
        torch.testing.assert_close(found, expected)
    assert all((x[2] == 0).all() for x in net(query, source, mask))


def test_the_background_of_a_support_changes_nothing(blocks_folder):
    """Neither for the features nor anywhere after them: supports are blacked out at the input (§2)."""
    found, method = episode(data(blocks_folder, 64, shot=2)), on_vit()
    before = method(found).logits
    outside = found.support_labels[0, 0] != 1
    for row, where in zip(found.support[0, 0].tolist(), outside, strict=True):
        found.images[row][:, where] = 255 - found.images[row][:, where]
    method.backbone.cache.clear()
    assert outside.any() and torch.equal(method(found).logits, before)
    found.images[found.support[0, 0, 0]] = 0
    method.backbone.cache.clear()
    assert not torch.equal(method(found).logits, before)


def test_objects_of_two_classes_in_one_image_are_kept_apart(blocks_folder):
    found, method = episode(data(blocks_folder, 64)), on_vit()
    others = replace(found, support_labels=1 - found.support_labels.clamp(max=1))
    first, other, again = (next(next(method.ask(one)[1])).features.f2 for one in (found, others, found))
    assert not torch.allclose(first, other) and torch.equal(first, again)
    for image in found.image_keys:
        method.backbone.cache.forget(image)
    assert method.backbone.cache.bytes == 0


@pytest.mark.slow(2)
def test_a_training_moves_neither_statistics_nor_weights_of_shots(blocks_folder):
    """Both as in the authors' program; scale and shift of BatchNorm do move (§7)."""
    method = on_pspnet(shots=2, learning_rate=1e-2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    fit(method, data(blocks_folder, 65, shot=2, training_shot=2))
    moved = {
        name.removeprefix("head.")
        for name, value in method.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert not [name for name in moved if name.startswith("kshot_rw") or "running" in name or "tracked" in name]
    assert {"transformer.match_layers.0.1.bn.weight", "transformer.cls.1.bias", "gram_merge.weight"} <= moved


def test_maps_that_are_too_small_are_refused():
    features = Features(torch.zeros(1, 4, 3, 3), torch.zeros(1, 4, 3, 3), torch.zeros(1, 4, 3, 3), None)
    head = HDMNetHead((4, 4), width=8, transformer_width=8, ensemble=False)
    with pytest.raises(
        SettingsError, match="features have 3 x 3 pixels, expected 4 a side or more; give larger images"
    ):
        head(features, [(features, torch.ones(1, 17, 17))])


def test_memory_does_not_grow_with_the_shots():
    """A shot keeps its tokens alone: a support's features are gone when the second one after it is read."""
    head, references, alive = HDMNetHead((4, 4), width=8, transformer_width=8, ensemble=False).eval(), [], []

    def supports(shots):
        for _ in range(shots):
            features = Features(*(torch.rand(1, 4, 8, 8) for _ in range(3)), None)
            alive.append(sum(reference() is not None for reference in references))
            references.append(weakref.ref(features.f3))
            yield features, torch.ones(1, 57, 57)
            del features

    query = Features(*(torch.rand(1, 4, 8, 8) for _ in range(3)), None)
    with torch.no_grad():
        output = head(query, supports(6))
    assert output.logits.shape == (1, 2, 8, 8) and max(alive) <= 2
    assert F.relu(output.similarity).max() <= 1.0001


def test_the_base_learner_can_be_left_out_of_a_checkpoint_that_has_it():
    method, alone = on_pspnet(shots=5), on_pspnet(base_learner=False)
    kept, differing = alone.filter_state_dict(method.state_dict(), "it")
    assert kept.keys() == alone.state_dict().keys() and differing == {"base_learner": True, "shots": 5}
    with pytest.raises(CheckpointError, match=r"it was trained with shots: 5; found shots: 1; give --model\.shots 5"):
        on_pspnet().filter_state_dict(method.state_dict(), "it")
