"""ABCDFSS beyond its goldens: views, a contrast in blocks, and what its adaptation follows from (abcdfss.md)."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import InterpolationMode, affine

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch, Opening, WayClass
from fsbench.methods.abcdfss import ABCDFSS
from fsbench.methods.abcdfss.draws import HeadDraws, Shear, sheared
from fsbench.methods.abcdfss.head import PRODUCTS, contrast
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode

DEMO = BackboneConfig("demo", "random:1")


def method(**settings) -> ABCDFSS:
    return ABCDFSS(DEMO, epochs=1, **settings).eval()


def episode(number: int = 0, ways: int = 1, shots: int = 1, opening: EpisodeBatch | None = None) -> EpisodeBatch:
    """Return an episode; with `opening`, one whose only class that one is the first of."""
    given = segmentation_episode(0, number, ways, shots, 64).without_truth()
    if opening is None:
        return given
    return replace(given, way_classes=[[WayClass(0, Opening(opening, 0, 1, 0))]])


def answer(of: ABCDFSS, given: EpisodeBatch) -> Tensor:
    with torch.inference_mode():
        logits = of(given).logits
    assert logits is not None
    return logits


@pytest.mark.parametrize("shear", [Shear(20, -7), Shear(-13, 18), Shear(0, 0)])
@pytest.mark.parametrize("size", [(16, 16), (9, 14)])
def test_a_shear_is_torchvisions(shear, size):
    x = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)).double() + 1
    expected = affine(x, 0, [0, 0], 1, [shear.x, shear.y], InterpolationMode.NEAREST)
    assert torch.equal(sheared(x, shear), expected)


def test_the_contrast_is_its_formula_in_blocks_as_well():
    generator = torch.Generator().manual_seed(2)
    side = 48  # so many positions that they make several blocks
    assert side**4 > PRODUCTS
    given = [F.normalize(torch.randn(2, 3, side, side, generator=generator).double(), dim=1) for _ in range(2)]
    ours, plain = ([x.clone().requires_grad_() for x in given] for _ in range(2))
    found = contrast(*ours, 0.5)
    a, b = (x.flatten(2) for x in plain)
    scores = torch.einsum("mcj,mcl->mjl", a, b) / 0.5
    expected = (scores.logsumexp(2) - (a * b).sum(1) / 0.5).mean()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    (3 * found).backward()
    (3 * expected).backward()
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x.grad, y.grad, atol=1e-12, rtol=0)


def program_stream(turns: int, fitted: set[int], channels: list[int], width: int, shots: int) -> list[Tensor]:
    """Return the first weights of the heads at a turn, drawn one after the other from one stream (§7)."""
    torch.manual_seed(2)
    torch.empty((), dtype=torch.int64).random_()
    found: list[Tensor] = []
    for turn in range(turns + 1):
        for _ in range((1 + shots) * 2):
            torch.empty(1).uniform_(0.1, 2.0)
            torch.randperm(4)
        if turn in fitted:
            found = []
            for c in channels:
                for layer in (nn.Conv2d(c, width, 1), nn.Conv2d(width, width, 1)):
                    found += [layer.weight, layer.bias]
    return found


@pytest.mark.parametrize(("turns", "fitted"), [(0, {0}), (3, {0, 1, 2, 3}), (70, set(range(71))), (70, {0, 5, 70})])
def test_first_weights_are_those_of_the_programs_stream(turns, fitted):
    channels = [5, 3]
    with torch.random.fork_rng(devices=[]):
        expected = program_stream(turns, fitted, channels, 4, 2)
    draws = HeadDraws(channels, 4, 2, 2)
    draws.heads(40, 40, 2)  # another place before, which is remembered
    for _ in range(2):
        heads = draws.heads(turns, len(fitted) - 1, 2)
        found = [p for head in heads for layer in (head.conv, head.linear) for p in (layer.weight, layer.bias)]
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_each_episode_is_answered_alike_whatever_came_before():
    of = method(adapt_to="every_episode")
    alone = answer(of, episode(1, ways=2))
    answer(of, episode(0, shots=2))
    assert torch.equal(answer(of, episode(1, ways=2)), alone)
    state = torch.get_rng_state()
    answer(of, episode(1))
    assert torch.equal(torch.get_rng_state(), state) and not list(of.parameters())


@pytest.mark.slow(2)
def test_heads_of_a_class_are_those_of_its_first_episode():
    first = episode(0)
    of = method()
    found = answer(of, episode(1, opening=first))
    answer(of, episode(2, opening=episode(7)))  # of another class, in between
    assert torch.equal(answer(of, episode(1, opening=first)), found)
    assert torch.equal(answer(method(), episode(1, opening=first)), found)  # alone, as another process has it
    of.begin_test(None)
    assert torch.equal(answer(of, episode(1, opening=first)), found)
    assert not torch.equal(answer(method(), episode(1)), found)  # fitted to itself
    assert not torch.equal(answer(method(), episode(1, opening=episode(7))), found)
    opened = replace(first, way_classes=[[WayClass(0, Opening(first, 0, 1, 0))]])
    assert torch.equal(answer(method(), opened), answer(method(adapt_to="every_episode"), episode(0)))


@pytest.mark.slow(1)
def test_ways_that_one_episode_opens_have_heads_of_their_own():
    first, ways = replace(episode(0, ways=2), episodes=torch.tensor([3])), (0, 1)
    classes = [WayClass(way, Opening(first.way(way), way, 2, way)) for way in ways]
    given, of = replace(episode(1, ways=2), way_classes=[classes]), method()
    found = answer(of, given)
    for way in ways:
        assert torch.equal(found[way], answer(method(), given.way(way))[0])
    assert of.context.episode == 0  # of what is answered, not of the episode that heads were fitted to


def test_the_statistics_of_the_comparison_are_of_the_features_at_hand_or_of_the_fitting():
    batch, running = (answer(method(statistics=s), episode(1, shots=2)) for s in ("batch", "running"))
    assert not torch.equal(batch, running) and bool(running.isfinite().all())


def test_settings_and_notes():
    notes = [" ".join(method(adapt_to=mode).record_notes(None)) for mode in ("first_episode", "every_episode")]
    assert "query and supports of the first episode of each class and used in all episodes of the class" in notes[0]
    assert "query and supports of each episode, without" in notes[1]
    assert all("not refined by a dense CRF" in own for own in notes)
    assert method().needs.classes == "first episodes" and method(adapt_to="every_episode").needs.classes == "places"
    assert ABCDFSS(BackboneConfig("resnet50_v2", "random:1")).num_trainable_parameters(1) == 974_080
    for settings, words in (
        ({"epochs": 0}, "epochs is 0, expected 1 or more"),
        ({"temperature": 0.0}, "temperature is 0.0, expected a number above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan, expected a number above 0"),
        ({"draw_seed": -1}, "draw_seed is -1, expected 0 or more"),
    ):
        with pytest.raises(SettingsError, match=words):
            ABCDFSS(DEMO, **settings)
