"""PerSAM's own rules beside the goldens: shots, ways, empty masks, several references (persam.md §5 to 8)."""

import pytest
import torch

from fsbench.backbones.sam import Prompts, SamConfig
from fsbench.contract.episodes import segmentation_episode
from fsbench.errors import SettingsError
from methods.persam import (
    PerSAM,
    PerSAMF,
    Refined,
    decode_guided,
    extreme_points,
    first_largest,
    guided_attention,
    mask_box,
    mixed,
    refine,
    selected_cells,
    tune_weights,
    tuning_losses,
)

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
    assert refine(None, (), (5, 6), torch.zeros(1, 2), torch.ones(1), last) is last


def test_the_decoder_is_as_before_after_a_guided_call():
    network = PerSAM(DEMO).network
    image = torch.randint(256, (3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    encoding, prompts = network.encode(image), Prompts(torch.tensor([[[9.0, 8.0]]]), torch.ones(1, 1))
    plain = network.decode_all(encoding, (64, 64), prompts, True)
    attention, target = torch.rand(8, 8), encoding[0][0].mean((1, 2))
    given = (network, encoding, (64, 64), prompts, True, attention, target)
    authors, theirs = decode_guided(*given), decode_guided(*given, variant="transformers")
    assert (authors.low_res - theirs.low_res).abs().max() > 0.01
    assert (authors.low_res - plain.low_res).abs().max() > 0.01
    assert torch.equal(network.decode_all(encoding, (64, 64), prompts, True).low_res, plain.low_res)
    neither = decode_guided(network, encoding, (64, 64), prompts, True, None, None)
    torch.testing.assert_close(neither.low_res, plain.low_res, rtol=1e-4, atol=1e-4)


def test_the_second_softmax_is_of_the_weights_plus_the_guidance():
    q, k, v, a = (torch.rand(*s) for s in ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4), (1, 1, 1, 5)))
    weights = torch.stack([torch.softmax(q[0, h] @ k[0, h].T / 2, -1) for h in range(2)])
    expected = torch.softmax(weights + a[0, 0], -1) @ v[0]
    torch.testing.assert_close(guided_attention(None, q, k, v, a)[0][0].transpose(0, 1), expected)


def test_a_step_of_the_tuning_is_that_of_adamw_written_out():
    generator = torch.Generator().manual_seed(4)
    logits, mask = torch.randn(3, 6, 5, generator=generator), torch.rand(6, 5, generator=generator) > 0.6
    found = tune_weights([logits, 2 * logits], [mask, ~mask], steps=1, lr=0.01)
    w = torch.full((2,), 1 / 3, dtype=torch.float64, requires_grad=True)
    parts = [
        sum(tuning_losses(mixed(w, scale * logits.double()).flatten(), truth.flatten().double()))
        for scale, truth in ((1, mask), (2, ~mask))
    ]
    (gradient,) = torch.autograd.grad((parts[0] + parts[1]) / 2, w)
    expected = w * (1 - 0.01 * 0.01) - 0.01 * gradient / (gradient.abs() + 1e-4)  # Adam's first step, decoupled decay
    torch.testing.assert_close(found.weights[1].double(), expected.detach(), rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        assert torch.equal(tune_weights([logits.clone()], [mask.clone()], 3, 0.01).weights[0], torch.full((2,), 1 / 3))


@pytest.mark.parametrize("kind", [PerSAM, lambda config, **more: PerSAMF(config, steps=5, **more)])
def test_equal_shots_predict_as_one_and_a_vote_of_equals_is_the_same(kind):
    one, first = kind(DEMO).eval(), segmentation_episode(0, 0, 1, 1, 64)
    twice = type(first)(**{**vars(first), "support": first.support.repeat(1, 1, 2)})
    twice.support_labels, twice.valid = first.support_labels.repeat(1, 1, 2, 1, 1), first.valid.repeat(1, 1, 2)
    expected = one.predict_shots(first.without_truth())
    pooled = one.predict_shots(twice.without_truth())
    voted = kind(DEMO, k_shot="vote").eval().predict_shots(twice.without_truth())
    assert torch.equal(voted.label_map, expected.label_map)
    assert (pooled.label_map != expected.label_map).float().mean() < 0.01
    assert expected.presence_score.shape == (1,) and bool(expected.present[0]) == bool((expected.label_map == 1).any())


def test_several_ways_are_segmented_one_by_one_and_the_surer_one_has_the_pixel():
    found, whole = PerSAM(DEMO).eval(), episode(ways=2, shots=2)
    steps = [found._steps(whole, way)[0].third for way in range(2)]
    answer = found.predict_shots(whole)
    surer = int(torch.stack([s.score for s in steps]).argmax())
    size = tuple(answer.label_map.shape)
    inside = torch.nn.functional.interpolate(steps[surer].mask[None, None].float(), size, mode="bilinear")[0, 0] > 0.5
    assert torch.equal(answer.label_map == surer + 1, inside)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match="the backbone is sam2_hiera_tiny; expected a SAM of the first generation"):
        PerSAM(SamConfig("sam2_hiera_tiny", "random:1"))
    with pytest.raises(SettingsError, match="mask_value is 0, expected 1 to 255"):
        PerSAM(DEMO, mask_value=0)
    with pytest.raises(SettingsError, match="steps is 0"):
        PerSAMF(DEMO, steps=0)
