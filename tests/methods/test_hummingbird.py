"""Retrieval from a memory of patches: the paper's decoder in plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from fsbench.base.errors import SettingsError
from fsbench.methods.hummingbird import Hummingbird, Memory
from tests.methods.small import vit

pytestmark = pytest.mark.usefixtures("tiny")


def plainly(query, keys, shares, k, temperature):
    """The share of one token (C,): the k most similar of a list of keys, weighted by exponentials."""
    cosines = [float(sum(a * b for a, b in zip(query.tolist(), key.tolist(), strict=True))) for key in keys]
    nearest = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]
    weights = [math.exp(cosines[i] / temperature) for i in nearest]
    return sum(w * float(shares[i]) for w, i in zip(weights, nearest, strict=True)) / sum(weights)


@pytest.mark.parametrize("k", [1, 3, 30])  # 30: more than there are
def test_a_token_takes_the_mean_share_of_its_nearest(k):
    generator = torch.Generator().manual_seed(0)
    query, keys = (F.normalize(torch.randn(n, 5, generator=generator), dim=-1) for n in (4, 9))
    shares = torch.rand(9, generator=generator)
    found = Hummingbird(vit(), k, 0.1).retrieve(query[None], Memory(keys, shares))[0]
    assert found == pytest.approx([plainly(one, keys, shares, k, 0.1) for one in query], abs=1e-5)


def test_a_patch_has_the_mean_label_of_its_pixels_and_supports_share_a_memory():
    method = Hummingbird(vit())
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[0, :3, :4], mask[1] = True, True
    tokens = torch.randn(2, 4, 5)
    memory = method.join(method.support(tokens[i : i + 1], mask[i : i + 1]) for i in range(2))
    assert memory.keys.equal(tokens.flatten(0, 1))
    assert memory.shares.tolist() == [0.75, 0, 0, 0, 1, 1, 1, 1]


def test_shares_are_enlarged_and_not_their_logarithms():
    shares = torch.tensor([[0.0, 1.0], [0.25, 0.5]])
    logits = torch.stack([1 - shares, shares]).clamp(min=1e-37).log()[None]
    found = Hummingbird(vit()).resize(logits, (3, 3)).softmax(1)[0, 1]
    assert found[1, 1] == pytest.approx(0.4375, abs=1e-6)  # the mean of all four


def test_settings_that_retrieve_nothing_are_refused():
    with pytest.raises(SettingsError, match="neighbours is 0"):
        Hummingbird(vit(), neighbours=0)
    with pytest.raises(SettingsError, match=r"temperature 0\.0"):
        Hummingbird(vit(), temperature=0.0)
