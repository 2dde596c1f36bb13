"""PerSAM's own rules beside the goldens: shots, ways, empty masks, several references (persam.md §5 to 8)."""

import pytest
import torch

from fsbench.methods.persam import (
    PerSAM,
    PerSAMF,
    Refined,
    decode_guided,
    extreme_points,
    first_largest,
    mask_box,
    refine,
    selected_cells,
)
from fsbench.networks.backbones.sam import Prompts, SamConfig
from fsbench.runner.contract.episodes import segmentation_episode
from tests.methods.small import chosen

pytest.importorskip("transformers")
DEMO = SamConfig("sam_demo", "random:1")


def episode(ways: int = 1, shots: int = 1):
    return segmentation_episode(0, 0, ways, shots, 64).without_truth()


def test_the_first_of_equal_places_is_taken():
    values = torch.tensor([[0.0, 2.0, 2.0], [-1.0, 0.0, -1.0]])
    points, labels = extreme_points(values)
    assert points.tolist() == [[1, 0], [0, 1]] and labels.tolist() == [1, 0]
    assert first_largest(torch.zeros(2, 3)) == 0


def test_without_a_cell_the_largest_one_is_selected():
    weights = torch.tensor([[-2.0, -0.5], [-0.5, -3.0]])
    assert selected_cells(weights).nonzero().tolist() == [[0, 1]]
    assert selected_cells(weights + 1).sum() == 2


def test_an_empty_mask_stays_and_asks_for_no_call():
    assert mask_box(torch.zeros(5, 6, dtype=torch.bool)) is None
    mask = torch.zeros(9, 7, dtype=torch.bool)
    mask[2:5, 3] = mask[7, 6] = True
    assert mask_box(mask).tolist() == [3, 2, 6, 7]
    last = Refined(torch.zeros(5, 6, dtype=torch.bool), torch.zeros(1, 1, 4, 4), torch.tensor(0.5))
    assert refine(None, None, (5, 6), torch.zeros(1, 2), torch.ones(1), last) is last


def test_the_decoder_is_as_before_after_a_guided_call():
    network = PerSAM(DEMO).network
    image = torch.randint(256, (3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    encoding, prompts = network.encode(image), Prompts(torch.tensor([[[9.0, 8.0]]]), torch.ones(1, 1))
    plain = network.decode(encoding, (64, 64), prompts, True)
    attention, target = torch.rand(8, 8), encoding[0].mean((1, 2))
    given = (network, encoding, (64, 64), prompts, True, attention, target)
    authors, theirs = decode_guided(*given), decode_guided(*given, variant="transformers")
    assert (authors.low_res - theirs.low_res).abs().max() > 0.01
    assert (authors.low_res - plain.low_res).abs().max() > 0.01
    assert torch.equal(network.decode(encoding, (64, 64), prompts, True).low_res, plain.low_res)
    neither = decode_guided(network, encoding, (64, 64), prompts, True, None, None)
    torch.testing.assert_close(neither.low_res, plain.low_res, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [PerSAM, lambda config, **more: PerSAMF(config, steps=5, **more)])
def test_equal_shots_predict_as_one_and_a_vote_of_equals_is_the_same(kind):
    one, first = kind(DEMO).eval(), episode()
    twice = chosen(first, shots=(0, 0))
    expected = one.predict_shots(first)
    pooled = one.predict_shots(twice)
    voted = kind(DEMO, k_shot="vote").eval().predict_shots(twice)
    assert torch.equal(voted.label_map, expected.label_map)
    assert (pooled.label_map != expected.label_map).float().mean() < 0.01
    assert expected.presence_score.shape == (1,) and bool(expected.present[0]) == bool((expected.label_map == 1).any())


def test_several_ways_are_segmented_one_by_one_and_the_surer_one_has_the_pixel():
    found, whole = PerSAM(DEMO).eval(), episode(ways=2, shots=2)
    query, ways = found.ask(whole)
    steps = [next(found.outputs(query, supports)).third for supports in ways]
    answer = found.predict_shots(whole)
    surer = int(torch.stack([s.score for s in steps]).argmax())
    size = tuple(answer.label_map.shape)
    inside = torch.nn.functional.interpolate(steps[surer].mask[None, None].float(), size, mode="bilinear")[0, 0] > 0.5
    assert torch.equal(answer.label_map == surer + 1, inside)
