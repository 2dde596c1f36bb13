"""Masks are counted at the truth's size; one of another size than was asked for ends the run instead of a figure."""

import numpy as np
import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.scores.answers import count_answer

FRAME = 8
TRUTH = torch.zeros(4, 6, dtype=torch.uint8)
TRUTH[1:3, 2:5] = 1


def evaluated(mask: torch.Tensor, asked: tuple[int, int]):
    """Evaluate `mask` as the answer to an episode that asks for the size `asked`."""
    one = torch.ones(1, 1, 1)
    episode = EpisodeBatch(
        torch.zeros(1, 3, 2, 2), ["q"], torch.tensor([0]), one.long(), one, one.bool(), torch.tensor([asked]),
        torch.tensor([7]), Truth([TRUTH], torch.tensor([[True]]), torch.tensor([[3]])),
    )  # fmt: skip
    (truth,) = episode.truths()
    return count_answer(Prediction(mask).answer("episode 7", soft=False), truth)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ((2, 3), (4, 6)),  # a protocol without a frame
        ((6, 4), (4, 6)),
        ((1, 4, 6), (4, 6)),
        ((4, 6), (FRAME, FRAME)),  # a protocol with one: the truth's size is not what it asks for
        ((16, 16), (FRAME, FRAME)),
    ],
)
def test_a_mask_of_another_size_is_one_clear_error(given, asked):
    with pytest.raises(SettingsError) as refused:
        evaluated(torch.zeros(given, dtype=torch.long), asked)
    words = str(refused.value)
    assert words.startswith(f"episode 7: the method gave a mask of {given}, expected {asked}; ") and "\n" not in words


@pytest.mark.parametrize("value", [0.7, float("nan"), -0.2])
def test_probabilities_are_no_mask(value):
    """They were cut down to 0: everything was background, without a word."""
    mask = torch.zeros(4, 6)
    mask[2, 3] = value
    with pytest.raises(
        SettingsError, match=f"episode 7: the method gave a mask with the value {value}, expected whole"
    ):
        evaluated(mask, (4, 6))
    assert np.array_equal(evaluated(TRUTH.float(), (4, 6)).label_map, TRUTH)


def test_a_mask_without_a_frame_is_counted_as_it_is():
    result = evaluated(TRUTH.long(), (4, 6))
    assert np.array_equal(result.label_map, TRUTH) and result.counts[1].tolist() == [6, 6, 6, 0, 0, 24]


def test_a_mask_of_a_frame_is_stretched_to_the_truth():
    mask = (torch.rand(FRAME, FRAME, generator=torch.Generator().manual_seed(0)) > 0.5).long()
    rows, columns = [int((y + 0.5) * FRAME / 4) for y in range(4)], [int((x + 0.5) * FRAME / 6) for x in range(6)]
    expected = mask[rows][:, columns]
    result = evaluated(mask, (FRAME, FRAME))
    assert np.array_equal(result.label_map, expected)
    hits, predicted = int((expected * TRUTH).sum()), int(expected.sum())
    assert result.counts[1].tolist() == [hits, predicted, 6, 0, 0, 24] and 0 < hits < predicted
