"""Average linkage: rounds of merges give the partition of scikit-learn's tree."""

import numpy as np
import pytest
import torch

from fsbench.networks.ops.average_linkage import average_linkage, linkage_by_rounds, linkage_by_tree

WAYS = (linkage_by_tree, linkage_by_rounds)


def distances(n: int, seed: int, centres: int = 6, noise: float = 0.7) -> torch.Tensor:
    """1 − cosine of vectors around a few directions."""
    rng = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(centres, 16, generator=rng), dim=1)
    chosen = directions[torch.randint(centres, (n,), generator=rng)]
    x = torch.nn.functional.normalize(chosen + noise / 4 * torch.randn(n, 16, generator=rng), dim=1)
    return 1 - (x @ x.T).clamp(-1, 1)


def same_partition(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Return whether two labellings (n,) group the same members, whatever the numbers."""
    distinct = torch.unique(torch.stack([first, second]), dim=1).shape[1]
    return distinct == len(torch.unique(first)) == len(torch.unique(second))


@pytest.mark.parametrize("cut", [0.05, 0.2, 0.4, 0.9])
def test_rounds_of_merges_give_scikit_learns_partition(cut):
    for seed, n in enumerate((2, 3, 40, 150)):
        given = distances(n, seed)
        assert same_partition(linkage_by_rounds(given, cut), linkage_by_tree(given, cut))


@pytest.mark.parametrize("way", WAYS)
def test_labels_count_from_zero_without_gaps(way):
    labels = way(distances(60, 3), 0.2)
    assert labels.dtype == torch.int64 and labels.unique().tolist() == list(range(int(labels.max()) + 1))


@pytest.mark.parametrize("way", WAYS)
def test_a_merge_at_the_cut_is_not_made(way):
    pair = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
    assert way(pair, 0.5).unique().numel() == 2
    assert way(pair, float(np.nextafter(0.5, 1))).unique().numel() == 1


@pytest.mark.parametrize("way", WAYS)
def test_only_entries_above_the_diagonal_are_read(way):
    given = distances(30, 5)
    spoiled = given.triu(1) + torch.full_like(given, 9.0).tril()
    assert same_partition(way(spoiled, 0.3), way(given, 0.3))


@pytest.mark.parametrize("way", WAYS)
def test_equal_points_are_one_cluster_and_one_point_is_its_own(way):
    given = distances(5, 1).repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert same_partition(way(given, 1e-6), torch.arange(5).repeat_interleave(4))
    assert way(torch.zeros(1, 1), 0.5).tolist() == [0]


def test_the_mean_is_over_members_and_not_over_clusters():
    """Four points on a line: {0, 1, 2} takes in 4.6 at the mean 3.6; the mean of two clusters' means would be 3.35."""
    places = torch.tensor([0.0, 1.0, 2.0, 4.6])
    given = (places[:, None] - places[None]).abs()
    for way in WAYS:
        assert way(given, 3.5).unique().numel() == 2
        assert way(given, 3.7).unique().numel() == 1


def test_on_the_cpu_the_tree_is_taken():
    given = distances(20, 7)
    assert torch.equal(average_linkage(given, 0.3), linkage_by_tree(given, 0.3))
