"""Ensembles of one-shot predictions, against plain arithmetic (dcama.md §8)."""

import pytest
import torch

from fsbench.core.shot_ensemble import ENSEMBLES, combine, label_map


def logits(shots, ways=2, seed=0):
    return 2 * torch.randn(shots, ways, 2, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shots", [1, 2, 3, 5])
def test_votes(shots):
    x = logits(shots)
    hard = (x[:, :, 1] > x[:, :, 0]).long()
    for n in range(2):
        for i in range(5):
            for j in range(6):
                votes = int(hard[:, n, i, j].sum())
                most = max(1, int(hard[:, n].sum(0).max()))
                assert bool(combine(x, "vote")[1][n, i, j]) == (2 * votes >= shots)
                assert bool(combine(x, "hsnet_vote")[1][n, i, j]) == (2 * votes >= most)


def test_averages():
    x = logits(3)
    probability = x.softmax(2)[:, :, 1].mean(0)
    torch.testing.assert_close(combine(x, "average")[0], probability)
    assert torch.equal(combine(x, "average")[1], probability > 0.5)
    mean = x.mean(0)
    assert torch.equal(combine(x, "average_logit")[1], mean[:, 1] > mean[:, 0])


def test_guided_average_weighs_shots_and_falls_back_to_the_plain_one():
    x = logits(3)
    p = x.softmax(2)[:, :, 1]
    weights = torch.tensor([[0.2, 0.0], [0.6, 0.0], [0.0, 0.0]])
    scores, foreground = combine(x, "cross_guided", weights)
    torch.testing.assert_close(scores[0], 0.25 * p[0, 0] + 0.75 * p[1, 0])
    torch.testing.assert_close(scores[1], p[:, 1].mean(0))
    assert torch.equal(foreground, scores > 0.5)


@pytest.mark.parametrize("strategy", ENSEMBLES)
def test_one_shot_is_itself_and_nothing_depends_on_the_order(strategy):
    x = logits(1)
    assert torch.equal(combine(x, strategy)[1], x[0, :, 1] > x[0, :, 0])
    several = logits(4, seed=1)
    assert torch.equal(combine(several, strategy)[1], combine(several.flip(0), strategy)[1])


def test_no_vote_anywhere_is_background():
    x = logits(3)
    x[:, :, 1] = x[:, :, 0] - 1
    assert not combine(x, "hsnet_vote")[1].any() and not combine(x, "vote")[1].any()


def test_the_way_of_the_highest_score_among_the_foreground_ones():
    scores = torch.tensor([[[0.9, 0.4, 0.7, 0.2]], [[0.8, 0.6, 0.7, 0.3]]])
    foreground = torch.tensor([[[True, False, True, False]], [[True, True, True, False]]])
    assert label_map(scores, foreground).tolist() == [[1, 2, 1, 0]]


def test_a_foreground_pixel_is_one_whatever_its_score():
    scores = torch.tensor([[[-3.0, -1.0]], [[-2.0, -5.0]]])
    foreground = torch.tensor([[[True, False]], [[True, False]]])
    assert label_map(scores, foreground).tolist() == [[2, 0]]
