"""k-means by cosine: the product of unit vectors against the distances written out."""

import pytest
import torch

from fsbench.networks.ops.cosine_kmeans import cosine_kmeans, cosine_kmeans_reference


def groups(seed: int, n: int = 90, width: int = 12, centres: int = 5) -> torch.Tensor:
    """Vectors around a few directions, of different lengths."""
    rng = torch.Generator().manual_seed(seed)
    directions = torch.randn(centres, width, generator=rng)
    x = directions[torch.randint(centres, (n,), generator=rng)] + 0.3 * torch.randn(n, width, generator=rng)
    return x * (0.5 + torch.rand(n, 1, generator=rng))


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("seed", range(4))
def test_the_product_gives_what_the_definition_gives(seed):
    x, initial = groups(seed), torch.arange(0, 50, 10)
    fast, plain = (way(x, initial, draws()) for way in (cosine_kmeans, cosine_kmeans_reference))
    assert torch.equal(fast.labels, plain.labels) and fast.passes == plain.passes > 1
    torch.testing.assert_close(fast.centres, plain.centres)


def test_centres_are_means_of_raw_vectors_and_stand_still():
    x = groups(9)
    found = cosine_kmeans(x, torch.arange(0, 50, 10), draws())
    assert found.converged
    for number, centre in enumerate(found.centres):
        torch.testing.assert_close(centre, x[found.labels == number].mean(0))
    again = torch.nn.functional.cosine_similarity(x[:, None], found.centres[None], dim=2).argmax(1)
    assert torch.equal(again, found.labels)


def test_one_cluster_is_the_mean_without_a_pass():
    x = groups(2)
    found = cosine_kmeans(x, torch.tensor([3]), draws())
    torch.testing.assert_close(found.centres[0], x.mean(0))
    assert found.passes == 0 and found.labels.unique().tolist() == [0]


def test_an_empty_cluster_takes_a_row_that_the_given_generator_draws():
    """Two equal first centres: the first gets all that is nearest, the second nothing."""
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.9, 0.0]])
    drawn = int(torch.randint(4, (1,), generator=draws()))
    for way in (cosine_kmeans, cosine_kmeans_reference):
        found = way(x, torch.tensor([0, 0]), draws(), limit=1)
        assert torch.equal(found.centres[1], x[drawn])
        torch.testing.assert_close(found.centres[0], x.mean(0))


def test_the_limit_of_passes_ends_it_and_is_told():
    x, initial = groups(0), torch.arange(0, 50, 10)
    assert cosine_kmeans(x, initial, draws()).passes > 1
    found = cosine_kmeans(x, initial, draws(), limit=1)
    assert not found.converged and found.passes == 1
