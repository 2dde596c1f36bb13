"""The rules by which shots become one answer, and what ways are compared by."""

import pytest
import torch

from fsbench.core.shots import RULES, Shot


def ways(rule, *margins, shots=1):
    """The ways of a pixel whose logits differ by `margins`, background first, around any level."""
    return [
        RULES[rule](Shot(torch.tensor([level, level + margin])[:, None, None], None) for _ in range(shots))
        for level, margin in zip((0.0, -8.0, 32.0), margins, strict=False)
    ]


@pytest.mark.parametrize(("rule", "shots"), [("joined", 1), ("vote", 1), ("vote", 3)])
@pytest.mark.parametrize("margins", [(17.0, 18.0, 19.0), (200.0, 200.5, 201.0), (-3.0, -2.0, 1.0)])
def test_ways_are_compared_by_what_their_logits_differ_by(rule, shots, margins):
    found = ways(rule, *margins, shots=shots)
    assert found[0].score < found[1].score < found[2].score
    assert [bool(way.foreground) for way in found] == [margin > 0 for margin in margins]


@pytest.mark.parametrize("rule", ["add", "average"])
def test_what_the_papers_compare_are_probabilities(rule):
    """EMAT and CST: of two ways of probability 1 the first one wins (emat.md §6)."""
    first, second = ways(rule, 17.0, 40.0)
    assert first.score == second.score == pytest.approx(1 / (1 + torch.e**-1))
