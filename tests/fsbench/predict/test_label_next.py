"""The rule by which images to label are ranked, against a plain implementation of its definition."""

import numpy as np
import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.patch_features import patch_features
from fsbench.predict.label_next import Queries, choose_labels, patch_grid, spread_evenly, without_itself


def unit(vector):
    return vector / np.sqrt((vector**2).sum())


def plain_cover(queries, image):
    """Return for every patch of every query the best cosine to the image's patches, less the queries' mean patch."""
    mean = np.mean([patch for query in queries for patch in query], 0)
    return [[max(unit(patch - mean) @ unit(other - mean) for other in image) for patch in query] for query in queries]


def plain_choice(covers, labelled, count):
    """Return (candidate, likeness, adds, closest) of the greedy choice, by loops over queries and patches."""
    names, given = range(len(covers)), [] if labelled is None else list(labelled)
    places = [(query, patch) for query in range(len(covers[0])) for patch in range(len(covers[0][0]))]

    def value(images):
        return sum(max(image[q][p] for image in images) for q, p in places) / len(places)

    chosen = []
    while len(chosen) < min(count, len(covers)):
        before = given + [covers[number] for number, *_ in chosen]
        left = [number for number in names if number not in [one for one, *_ in chosen]]
        totals = [value([*before, covers[number]]) for number in left]
        number = left[int(np.argmax(totals))]
        nearer = [
            all(np.mean(covers[number][q]) > np.mean(other[q]) for other in before) for q in range(len(covers[0]))
        ]
        adds = max(totals) - (value(before) if before else 0)
        chosen.append((number, value([covers[number]]), adds, sum(nearer)))
    return chosen


@pytest.mark.parametrize("labelled", [0, 1, 3])
def test_the_ranking_is_that_of_a_plain_implementation(labelled):
    rng = np.random.default_rng(0)
    queries, images = rng.normal(size=(5, 6, 8)), rng.normal(size=(7, 6, 8))
    compared = Queries(list(torch.tensor(queries)))
    covers = np.stack([compared.cover(torch.tensor(image)) for image in images])
    assert covers == pytest.approx(np.array([plain_cover(queries, image) for image in images]))
    given = [plain_cover(queries, rng.normal(size=(6, 8))) for _ in range(labelled)] or None
    found = choose_labels(covers, None if given is None else np.array(given), 4)
    for choice, expected in zip(found, plain_choice(covers, given, 4), strict=True):
        assert (choice.candidate, choice.closest) == (expected[0], expected[3])
        assert (choice.likeness, choice.adds) == pytest.approx(expected[1:3])
    assert len(choose_labels(covers, None, 99)) == 7


def test_an_image_covers_itself_and_equal_ones_keep_their_order():
    grid = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    compared = Queries([grid, grid + 1])
    assert compared.cover(grid)[0] == pytest.approx(np.ones(6), abs=1e-6)
    twice = np.stack([compared.cover(grid)] * 2)
    first, second = choose_labels(twice, None, 2)
    assert (first.candidate, second.candidate, second.adds, second.closest) == (0, 1, 0, 0)


def test_an_image_that_is_a_query_is_no_example_for_itself():
    grids = list(torch.randn(30, 4, 8, generator=torch.Generator().manual_seed(0)))
    compared = Queries(grids[:10])
    for number, grid in enumerate(grids):
        cover, own = compared.cover(grid), number if number < 10 else None
        others = [query for query in range(10) if query != own]
        assert without_itself(cover, own).mean() == pytest.approx(cover[others].mean(), abs=1e-6)
        assert np.array_equal(without_itself(cover, own)[others], cover[others])
    twice = Queries([grids[0], grids[0], grids[1]])  # a copy adds nothing to what is chosen
    covers = np.stack([without_itself(twice.cover(grid), number) for number, grid in enumerate(grids[:1] * 2)])
    first, second = choose_labels(covers, None, 2, [0, 1])
    assert first.adds > 0.5 and second.adds == pytest.approx(0, abs=1e-6) and second.closest == 0
    alone = Queries(grids[:1]).cover(grids[0])
    assert np.array_equal(without_itself(alone, 0), alone)


def test_grids_are_means_of_cells_and_many_queries_are_thinned_evenly():
    features = torch.arange(16 * 16 * 2.0).reshape(16, 16, 2)
    grid = patch_grid(features)
    assert grid.shape == (64, 2) and torch.equal(grid[9], features[2:4, 2:4].mean((0, 1)))
    assert patch_grid(features[:4, :4]).shape == (16, 2)
    assert spread_evenly(5, 9) == [0, 1, 2, 3, 4] and spread_evenly(10, 4) == [0, 2, 5, 7]


class Network:
    name = "drawn"

    def __init__(self, features):
        self.features = features

    def encode(self, pixels):
        return self.features


def test_features_are_those_of_the_last_layer_of_tokens_and_pyramids():
    tokens = torch.randn(2, 10, 4, generator=torch.Generator().manual_seed(0))
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    expected = torch.nn.functional.normalize(tokens[-1, 1:], dim=-1).reshape(3, 3, 4)
    assert torch.equal(patch_features(Network(tokens), pixels), expected)
    maps = tokens[:, 1:].mT.reshape(2, 4, 3, 3)
    assert torch.equal(patch_features(Network((maps[:1], maps[:1], maps, maps[:1])), pixels), expected)
    for other in (tokens[:, :9], tokens[0], (maps, maps), (maps[0],) * 4):
        with pytest.raises(SettingsError, match="the frozen network drawn gives no features of patches in a square"):
            patch_features(Network(other), pixels)
