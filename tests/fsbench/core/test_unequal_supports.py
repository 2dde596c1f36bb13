"""Ways with different numbers of supports, and with none: each is answered as if it were asked alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fsbench.data.batch import EpisodeBatch
from fsbench.runner.contract.suite import build_subject
from fsbench.scores.answers import SegmentationAnswer

SHOTS = (5, 0, 2)
"""Supports of the three ways."""


def first_shots(way: EpisodeBatch, shots: int) -> EpisodeBatch:
    parts = {name: getattr(way, name)[:, :, :shots] for name in ("support", "support_labels", "valid")}
    return replace(way, **parts)


def cut(episode: EpisodeBatch) -> EpisodeBatch:
    """An episode of three ways with `SHOTS` supports; in the place of the others is a label of everything."""
    valid = torch.tensor([[[shot < number for shot in range(5)] for number in SHOTS]])
    labels = torch.where(valid[..., None, None], episode.support_labels, 1)
    return replace(episode, valid=valid, support_labels=labels, ways=torch.tensor([3]), unsupported_are_base=False)


@pytest.mark.parametrize("method", ["hsnet", "seggpt", "hummingbird"])
def test_a_way_is_answered_by_its_own_supports_alone(method):
    subject = build_subject(method)
    episode = subject.episode(7, 3, 5)
    unequal = cut(episode)
    seen = unequal.only([0, 2])
    together = subject.method.predict_shots(seen)
    for place, way in enumerate((0, 2)):
        alone = first_shots(episode.only([way]), SHOTS[way])
        expected = subject.method.predict_shots(alone)
        for name in ("logits", "presence_score"):
            one, other = getattr(expected, name), getattr(together, name)
            if one is not None and other is not None:
                torch.testing.assert_close(other[place], one[0])
    (answer,) = subject.method.answer_batch(unequal)
    numbers = np.array([0, 1, 3])
    np.testing.assert_array_equal(answer.label_map, numbers[together.label_map.cpu().numpy()])
    assert 2 not in answer.label_map


def test_the_prototypes_of_a_way_are_those_of_its_own_supports():
    subject = build_subject("prototype")
    episode = subject.episode(7, 3, 5)

    def prototypes(of: EpisodeBatch) -> torch.Tensor:
        return subject.method.join(subject.method.ask(of)[1]).prototypes.foreground

    together = prototypes(cut(episode).only([0, 2]))
    for place, way in enumerate((0, 2)):
        torch.testing.assert_close(together[place], prototypes(first_shots(episode.only([way]), SHOTS[way]))[0])


@pytest.mark.parametrize("method", ["prototype", "hsnet"])
def test_nothing_is_predicted_where_no_way_has_supports(method):
    subject = build_subject(method)
    episode = subject.episode(7, 2, 1)
    none = {name: getattr(episode, name)[:, :, :0] for name in ("support", "support_labels", "valid")}
    (answer,) = subject.method.answer_batch(
        replace(episode, **none, ways=torch.tensor([2]), unsupported_are_base=False)
    )
    assert answer.label_map.shape == tuple(episode.query_sizes[0].tolist()) and not answer.label_map.any()
    assert answer.present is not None and answer.present.tolist() == [False, False]


def test_an_answer_among_other_ways():
    answer = SegmentationAnswer(np.array([[0, 1], [2, 2]]), np.array([True, False]), np.array([0.9, 0.1], np.float32))
    found = answer.among([1, 3], 4)
    assert found.label_map.tolist() == [[0, 2], [4, 4]]
    assert found.present.tolist() == [False, True, False, False]
    assert found.score.tolist() == pytest.approx([0, 0.9, 0, 0.1]) and found.soft is None
