"""Passes of a network that methods share: who asks second gets the same numbers, and the network is not asked."""

import torch

from fsbench.networks.backbones.base import BackboneConfig, share_passes
from fsbench.networks.backbones.passes import Passes
from fsbench.networks.backbones.timm_networks import FrozenPyramid, FrozenViT

SIDE = 64


def image(seed, side=SIDE):
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed))


def networks(*weights, kind=FrozenViT, name="demo", **options):
    made = [kind(BackboneConfig(name, one, cache_mib=64, **options)) for one in weights]
    share_passes(made)
    return made


def asked(backbone):
    """Let a network count how often it is asked; return the growing list."""
    calls, features = [], backbone._features

    def counted(model, images):
        calls.append(images)
        return features(model, images)

    backbone._features = counted
    return calls


def test_an_image_is_encoded_once_by_equal_networks_and_each_has_its_own_copy():
    first, second = networks("random", "random")
    of_first, of_second = asked(first), asked(second)
    found = first.encode(image(0))
    again = second.encode(image(0))
    assert len(of_first) == 1 and not of_second
    assert torch.equal(found, again)
    again.zero_()
    assert torch.equal(first.encode(image(0)), found)
    second.encode(image(1))
    assert len(of_second) == 1
    alone = FrozenViT(BackboneConfig("demo", "random"))
    assert torch.equal(alone.encode(image(1)), first.encode(image(1)))


def test_patches_follow_from_the_tokens_to_the_bit():
    first, second = networks("random", "random")
    alone = FrozenViT(BackboneConfig("demo", "random"))
    tokens = first.encode(image(2))
    for block in (-1, 1):
        assert torch.equal(second.patch_map(image(2), block=block), alone.patch_map(image(2), block=block))
        assert torch.equal(second.patch_map(image(2), False, block), alone.patch_map(image(2), False, block))
    assert torch.equal(first.encode(image(2)), tokens)


def test_networks_of_other_weights_precision_or_kind_share_nothing():
    one, other = networks("random", "random:1")
    assert one.passes is not other.passes
    assert not torch.equal(one.encode(image(3)), other.encode(image(3)))
    vit = FrozenViT(BackboneConfig("demo", "random", precision="bf16"))
    share_passes([one, vit])
    assert one.passes is not vit.passes
    fine, coarse = networks("random", "random", kind=FrozenPyramid)
    coarse.fine = False
    share_passes([fine, coarse])
    assert fine.passes is not coarse.passes


def test_autocast_asks_another_question():
    first, second = networks("random", "random")
    with torch.autocast("cpu", torch.bfloat16):
        narrow = first.encode(image(4))
    assert not torch.equal(narrow.float(), second.encode(image(4)))
    first.forget_passes()
    of_second = asked(second)
    second.encode(image(4))
    assert len(of_second) == 1


def test_features_are_kept_within_each_ones_part_of_the_bound():
    assert [one.cache.max_bytes for one in networks("random", "random")] == [32 * 2**20] * 2


def test_passes_are_bounded_and_tell_what_they_spared():
    passes, calls = Passes(max_bytes=3 * 800), []

    def encode(number):
        calls.append(number)
        return torch.full((100,), float(number)), None

    pixels = [torch.full((3, 5, 5), float(number)) for number in range(4)]
    for number in (0, 1, 2, 2, 3):  # an image and its features are 700 bytes
        passes.get("features", pixels[number], lambda number=number: encode(number))
    assert calls == [0, 1, 2, 3] and passes.spared > 0
    passes.get("features", pixels[0], lambda: encode(0))
    passes.get("other", pixels[3], lambda: encode(3))
    assert calls == [0, 1, 2, 3, 0, 3]
    big = Passes(max_bytes=10)
    assert big.get("features", pixels[1], lambda: encode(1))[0].eq(1).all()
    assert big.get("features", pixels[1], lambda: encode(2))[0].eq(1).all()  # never the one that just came
