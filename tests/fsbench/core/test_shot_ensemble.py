"""Ensembles of one-shot predictions, against plain arithmetic (dcama.md §8)."""

from dataclasses import replace

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.shot_ensemble import ENSEMBLES, combine, ensemble, label_map, predict_from
from fsbench.data.batch import Hints
from fsbench.runner.contract.episodes import segmentation_episode


def logits(shots, ways=2, seed=0):
    return 2 * torch.randn(shots, ways, 2, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shots", [1, 2, 3, 5])
def test_votes(shots):
    x = logits(shots)
    x[:, 1, 1] = x[:, 1, 0] - 1  # no vote anywhere
    hard = (x[:, :, 1] > x[:, :, 0]).long()
    for n in range(2):
        for i in range(5):
            for j in range(6):
                votes = int(hard[:, n, i, j].sum())
                most = max(1, int(hard[:, n].sum(0).max()))
                assert bool(combine(x, "vote")[1][n, i, j]) == (2 * votes >= shots)
                assert bool(combine(x, "hsnet_vote")[1][n, i, j]) == (2 * votes >= most)


@pytest.mark.parametrize("strategy", ["vote", "hsnet_vote"])
def test_the_soft_mask_of_a_vote_is_the_mean_probability(strategy):
    x = logits(3)
    combined = combine(x, strategy)
    mean = sum(1 / (1 + torch.exp(shot[:, 0] - shot[:, 1])) for shot in x) / 3
    torch.testing.assert_close(combined.probability, mean)
    prediction = predict_from(combined)
    assert torch.equal(prediction.label_map, label_map(combined.scores, combined.foreground))
    soft = prediction.soft_masks(5)
    assert soft.shape == (2, 5, 5) and soft.dtype == torch.uint8
    cells = torch.stack([(mean[..., c] + mean[..., c + 1]) / 2 for c in range(5)], -1)  # 6 columns in 5 cells
    torch.testing.assert_close(soft.float(), 255 * cells, atol=0.51, rtol=0)


def test_every_call_sees_one_shot_with_its_own_masks():
    episode = next(segmentation_episode(0, 0, 2, 3, 32).split()).without_truth()
    labels = episode.support_labels
    assert not any(torch.equal(labels[:, :, a], labels[:, :, b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    seen = []

    def predict(single):
        seen.append(single)
        return Prediction(torch.zeros(5, 6), logits=logits(1)[0])

    ensemble(predict, episode, "average")
    for shot, single in enumerate(seen):
        assert torch.equal(single.support, episode.support[:, :, [shot]])
        assert torch.equal(single.support_labels, labels[:, :, [shot]])
        assert torch.equal(single.valid, episode.valid[:, :, [shot]])
    assert len(seen) == 3


@pytest.mark.parametrize("silent", [(), (1,), (0, 1, 2)])
def test_the_attention_of_an_ensemble_is_the_mean_of_the_shots_that_have_any(silent):
    episode = next(segmentation_episode(0, 0, 2, 3, 32).split()).without_truth()
    rows = episode.support[0, 0].tolist()
    maps = {row: torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(row)) for row in rows}

    def predict(single):
        row = int(single.support[0, 0, 0])
        return Prediction(
            torch.zeros(5, 6), logits=logits(1)[0], attention=None if rows.index(row) in silent else maps[row]
        )

    found = ensemble(predict, episode, "vote").attention
    kept = [maps[row] for shot, row in enumerate(rows) if shot not in silent]
    if kept:
        torch.testing.assert_close(found, sum(kept) / len(kept))
    else:
        assert found is None


def test_averages():
    x = logits(3)
    probability = x.softmax(2)[:, :, 1].mean(0)
    torch.testing.assert_close(combine(x, "average").scores, probability.logit())
    torch.testing.assert_close(combine(x, "average").probability, probability)
    assert torch.equal(combine(x, "average")[1], probability > 0.5)
    mean = x.mean(0)
    assert torch.equal(combine(x, "average_logit")[1], mean[:, 1] > mean[:, 0])
    torch.testing.assert_close(combine(x, "average_logit").probability, mean.softmax(1)[:, 1])


def test_guided_average_weighs_shots_and_falls_back_to_the_plain_one():
    x = logits(3)
    p = x.softmax(2)[:, :, 1]
    weights = torch.tensor([[0.2, 0.0], [0.6, 0.0], [0.0, 0.0]])
    scores, foreground, probability = combine(x, "cross_guided", weights)
    torch.testing.assert_close(scores, probability.logit())
    torch.testing.assert_close(probability[0], 0.25 * p[0, 0] + 0.75 * p[1, 0])
    torch.testing.assert_close(probability[1], p[:, 1].mean(0))
    assert torch.equal(foreground, probability > 0.5)


@pytest.mark.parametrize("strategy", ENSEMBLES)
@pytest.mark.parametrize("margins", [(17, 18), (300, 301), (18, 17)])
def test_ways_whose_probability_is_1_are_told_apart(strategy, margins):
    x = torch.zeros(3, 2, 2, 1, 1)
    x[:, :, 1, 0, 0] = torch.tensor(margins) + torch.tensor([[0.0], [0.25], [0.5]])
    weights = torch.full((3, 2), 0.5)
    found = combine(x, strategy, weights if strategy == "cross_guided" else None)
    assert bool((found.probability == 1).all())
    assert label_map(found.scores, found.foreground).item() == 1 + int(margins[1] > margins[0])


@pytest.mark.parametrize("strategy", ["vote", "hsnet_vote"])
def test_votes_come_before_logits(strategy):
    x = torch.full((3, 2, 2, 1, 1), 0.0)
    x[:, 0, 1] = torch.tensor([1.0, 1.0, 1.0])[:, None, None]
    x[:, 1, 1] = torch.tensor([900.0, 900.0, -1.0])[:, None, None]
    if strategy == "hsnet_vote":  # another pixel has the most votes
        x = x.repeat(1, 1, 1, 1, 2)
        x[:, 1, 1, 0, 1] = 1
    found = combine(x, strategy)
    assert label_map(found.scores, found.foreground)[0, 0] == 1


@pytest.mark.parametrize("strategy", ENSEMBLES)
def test_one_shot_is_itself_and_nothing_depends_on_the_order(strategy):
    x = logits(1)
    assert torch.equal(combine(x, strategy)[1], x[0, :, 1] > x[0, :, 0])
    several = logits(4, seed=1)
    assert torch.equal(combine(several, strategy)[1], combine(several.flip(0), strategy)[1])


def test_the_way_of_the_highest_score_among_the_foreground_ones():
    scores = torch.tensor([[[0.9, 0.4, 0.7, 0.2]], [[0.8, 0.6, 0.7, 0.3]]])
    foreground = torch.tensor([[[True, False, True, False]], [[True, True, True, False]]])
    assert label_map(scores, foreground).tolist() == [[1, 2, 1, 0]]
    assert label_map(scores - 9, foreground).tolist() == [[1, 2, 1, 0]]  # whatever the scores' sign


@pytest.mark.parametrize("strategy", ["vote", "cross_guided"])
def test_a_method_that_asks_for_photos_and_names_gets_those_of_its_shot(strategy):
    episode = next(segmentation_episode(0, 0, 2, 3, 32).split()).without_truth()
    photos = [[episode.images[row] for row in way] for way in episode.support[0]]
    boxes = torch.arange(24.0, dtype=torch.float64).view(2, 3, 4)
    episode = replace(episode, hints=[Hints(episode.images[0], photos, boxes, ("cat", "dog"))])
    ways_of = {"cat": 0, "dog": 1}
    asked = []

    def predict(single):
        (hints,) = single.hints
        assert torch.equal(hints.query, single.images[int(single.query[0])])
        for way, name in enumerate(hints.class_names):
            for shot, photo in enumerate(hints.supports[way]):
                row = single.support[0, way, shot]
                assert torch.equal(photo, single.images[row])
                assert torch.equal(hints.boxes[way, shot], boxes[episode.support[0] == row][0])
            assert single.support[0, way, 0] in episode.support[0, ways_of[name]]
        asked.append((len(hints.class_names), len(hints.supports[0])))
        height, width = single.query_sizes[0].tolist()
        return Prediction(torch.zeros(height, width), logits=torch.zeros(len(hints.class_names), 2, height, width))

    ensemble(predict, episode, strategy)
    assert set(asked) == ({(2, 1)} if strategy == "vote" else {(2, 1), (1, 1)})


def test_presence_goes_by_its_mean_score_and_half_of_the_decisions():
    episode = next(segmentation_episode(0, 0, 2, 2, 32).split()).without_truth()
    said = iter([([True, False], [0.9, 0.2]), ([False, False], [0.3, 0.4])])

    def predict(single):
        present, score = map(torch.tensor, next(said))
        return Prediction(torch.zeros(5, 6), present, score, logits(1)[0])

    found = ensemble(predict, episode, "vote")
    assert found.present.tolist() == [True, False]
    torch.testing.assert_close(found.presence_score, torch.tensor([0.6, 0.3]))


@pytest.mark.slow(10)
@pytest.mark.parametrize("strategy", ["vote", "average"])
def test_an_exported_file_sums_the_smallest_probabilities_too(strategy, tmp_path):
    """A background of probability e^-200 counts: a sum that takes exp first would lose it."""
    onnxruntime = pytest.importorskip("onnxruntime")

    class Combining(torch.nn.Module):
        def forward(self, x):
            return combine([x[0], x[1]], strategy).scores

    x = torch.zeros(2, 2, 2, 1, 2)
    x[:, 0, 1], x[:, 1, 1] = 200, torch.tensor([201.0, -300.0])
    torch.onnx.export(Combining().eval(), (x,), tmp_path / "x.onnx", dynamo=True, verbose=False)
    (found,) = onnxruntime.InferenceSession(tmp_path / "x.onnx").run(None, {"x": x.numpy()})
    expected = combine(list(x), strategy).scores
    assert expected[0, 0, 0] < expected[1, 0, 0] and expected.isfinite().all()
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_ways_without_supports_are_not_compared_with_those_that_have_some():
    episode = next(segmentation_episode(0, 0, 3, 2, 32).split()).without_truth()
    valid = episode.valid.clone()
    valid[:, 0] = False  # a base class

    def predict(single):
        return Prediction(torch.zeros(5, 6), logits=logits(1, 3)[0])

    assert ensemble(predict, replace(episode, valid=valid), "average").label_map.shape == (5, 6)
    valid[:, 1, 1] = False
    with pytest.raises(SettingsError, match="classes have 1, 2 supports"):
        ensemble(predict, replace(episode, valid=valid), "average")
