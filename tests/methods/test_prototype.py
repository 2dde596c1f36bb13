"""Properties of the training-free prototype (classical-baselines §2.4) and its variants."""

import weakref

import numpy as np
import pytest
import torch

from fsbench.data.batch import EpisodeBatch
from fsbench.datamodules.datasets.folder import Folder
from fsbench.methods.prototype import (
    Prototype,
    build_prototypes,
    cell_weights,
    cosines,
    normalise,
    presence,
    support_sums,
    token_logits,
)
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode
from fsbench.runner.engine.answering import evaluate_batch
from tests.data_modules import episodic
from tests.methods.small import vit

SIDE, CHANNELS = 6, 12


pytestmark = pytest.mark.usefixtures("tiny")


def scene(ways=2, shots=2, seed=0):
    """Query tokens (1, T, C), support tokens (N, K, 1, T, C), masks (N, K, 24, 24)."""
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(1, SIDE * SIDE, CHANNELS, generator=rng)
    supports = torch.randn(ways, shots, 1, SIDE * SIDE, CHANNELS, generator=rng)
    masks = torch.zeros(ways, shots, 24, 24)
    for n in range(ways):
        for k in range(shots):
            masks[n, k, 3 * n : 3 * n + 9, 2 * k : 2 * k + 11] = 1
    return query, supports, masks


def logits_of(query, supports, masks):
    prototypes = build_prototypes(support_sums(normalise(supports), cell_weights(masks, SIDE, SIDE)))
    return token_logits(cosines(normalise(query), prototypes), prototypes.valid, 20.0, 0.0)


def test_neither_longer_tokens_nor_every_shot_twice_change_anything():
    query, supports, masks = scene()
    expected = logits_of(query, supports, masks)
    torch.testing.assert_close(logits_of(3 * query, 0.1 * supports, masks), expected)
    twice = logits_of(query, torch.cat([supports, supports], 1), torch.cat([masks, masks], 1))
    torch.testing.assert_close(twice, expected)


@pytest.mark.parametrize("ways", [1, 2])
def test_the_answer_follows_from_the_maps_that_are_shown(ways):
    """A pixel has the class of its most similar prototype, the cosines brought to its place."""
    episode = next(segmentation_episode(2, 0, ways, 1, 64).split()).without_truth()
    method = Prototype(BackboneConfig("demo", "random:1")).eval()
    maps = method.query_maps(episode)
    own = ["similarity"] if ways == 1 else ["similarity 1", "similarity 2"]
    assert list(maps) == ["similarity to the background", *own]
    size = tuple(episode.query_sizes[0].tolist())
    full = torch.nn.functional.interpolate(torch.stack([*maps.values()])[None], size, mode="bilinear")[0]
    answer = method.predict_shots(episode).label_map
    two = full.topk(2, dim=0).values
    clear = two[0] - two[1] > 1e-6
    assert clear.float().mean() > 0.99 and torch.equal(answer[clear], full.argmax(0)[clear])
    assert list(Prototype(BackboneConfig("demo", "random:1"), background="none").query_maps(episode)) == own


def test_a_two_colour_scene_is_segmented():
    colours = torch.randn(2, CHANNELS, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(SIDE, SIDE, dtype=torch.int64)
    labels[1:4, 2:5] = 1
    tokens = colours[labels.flatten()][None]
    mask = labels.repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None].float()
    found = logits_of(tokens, tokens[None, None], mask).argmax(0).view(SIDE, SIDE)
    assert (found & labels).sum() / (found | labels).sum() > 0.8


def test_an_empty_shot_is_left_out():
    _query, supports, masks = scene(ways=1, shots=2)
    masks[0, 1] = 0
    foreground = build_prototypes(support_sums(normalise(supports), cell_weights(masks, SIDE, SIDE))).foreground
    alone = build_prototypes(
        support_sums(normalise(supports[:, :1]), cell_weights(masks[:, :1], SIDE, SIDE))
    ).foreground
    torch.testing.assert_close(foreground, alone)


def test_pooling_pixels_weighs_shots_by_size():
    _, supports, masks = scene(ways=1, shots=2)
    masks[0, 1] = 0
    masks[0, 1, :4, :4] = 1  # one cell against many
    weights = cell_weights(masks, SIDE, SIDE)
    tokens = normalise(supports)
    mean = (weights[0, :, :, None] * tokens[0, :, 0]).sum((0, 1)) / weights.sum()
    pooled = build_prototypes(support_sums(tokens, weights), pool="pixel").foreground[0, 0]
    torch.testing.assert_close(pooled, normalise(mean))
    assert not torch.allclose(pooled, build_prototypes(support_sums(tokens, weights), pool="shot").foreground[0, 0])


def test_presence_is_the_mean_of_the_largest_probabilities():
    logits = torch.randn(3, 250, generator=torch.Generator().manual_seed(0))
    probability = logits.softmax(0)[2].sort(descending=True).values
    torch.testing.assert_close(presence(logits, 0.01)[1], probability[:2].mean())  # round(2.5) is 2 in Python
    torch.testing.assert_close(presence(logits[:, :20], 0.01)[1], logits[:, :20].softmax(0)[2].max())


@pytest.fixture
def data(blocks_folder):
    return episodic(Folder(str(blocks_folder)), image_size=48, way=2, episodes=12, workers=0)


def results(method, data):
    with torch.inference_mode():
        return [evaluate_batch(method, data.protocol, batch)[0] for batch in data.test_dataloader()]


def test_gating_removes_masks_of_absent_ways(data):
    plain, gated = (results(Prototype(vit(), theta=0.95, gate=gate), data) for gate in (False, True))
    absent = [(p, g) for p, g in zip(plain, gated, strict=True) if not bool(p.decided.all())]
    assert absent
    for p, g in absent:
        assert np.array_equal(p.decided, g.decided)
        for way in np.flatnonzero(~g.decided):
            assert not (g.label_map == way + 1).any()


def test_layers_average_their_cosines(data):
    batch: EpisodeBatch = next(iter(data.test_dataloader()))
    single = [Prototype(vit(), layers=(layer,))._similar(batch)[0] for layer in (0, 2)]
    both = Prototype(vit(), layers=(0, -1))._similar(batch)[0]
    torch.testing.assert_close(both, (single[0] + single[1]) / 2)


def test_without_background_a_constant_takes_its_place(data):
    batch = next(iter(data.test_dataloader()))
    similar, _, _ = Prototype(vit(), background="none", background_cosine=0.3)._similar(batch)
    assert (similar[0] == 0.3).all()


@pytest.mark.slow(2)
def test_calibration_on_base_classes_improves_on_them(data):
    """The chosen settings are the best of the grid: no worse than the fixed ones on the same episodes."""
    fixed, chosen = Prototype(vit()), Prototype(vit(), selection="base")
    assert chosen.needs.calibration and not fixed.needs.calibration
    episodes = list(data.calibration_episodes(20))
    picked = chosen.calibrate(episodes)
    assert (chosen.alpha, chosen.delta, chosen.theta) == (picked["alpha"], picked["delta"], picked["theta"])

    def score(method):
        from fsbench.core.episodic_scores import EpisodicScores

        scores = EpisodicScores([4, 5, 6], "background")
        for episode in episodes:
            scores.update(*evaluate_batch(method, data.protocol, episode))
        return scores.compute()

    assert score(chosen)["mIoU"] >= score(fixed)["mIoU"]
    fixed.alpha, fixed.delta = chosen.alpha, chosen.delta
    assert score(chosen)["accuracy"] >= score(fixed)["accuracy"]


def test_delta_from_the_supports_segments_them_best(data):
    method = Prototype(vit(), selection="support")
    batch = next(iter(data.test_dataloader()))
    _, prototypes, delta = method._similar(batch)
    supports = method.features(batch, batch.support[0, :, 0])
    weights = cell_weights(batch.support_masks[0], 6, 6)
    ious = {}
    for candidate in np.arange(-4, 4.5, 0.5):
        total = []
        for n in range(2):
            tokens = supports[n, 0]
            found = 20 * (tokens @ prototypes.foreground[n, 0] - tokens @ prototypes.background[0]) - candidate > 0
            truth = weights[n, 0] > 0.5
            total.append(float((found & truth).sum() / (found | truth).sum().clamp(min=1)))
        ious[float(candidate)] = sum(total) / 2
    best = max(ious.values())
    assert ious[delta] == pytest.approx(best)
    assert abs(delta) == min(abs(d) for d, iou in ious.items() if iou == pytest.approx(best))


def test_the_tokens_of_one_support_are_held_at_a_time(monkeypatch):
    method = Prototype(BackboneConfig("demo", "random:1", cache_mib=0)).eval()
    seen, support = [], method.support

    def watched(image, mask):
        assert not [each for each in seen if each() is not None]
        seen.append(weakref.ref(image))
        return support(image, mask)

    monkeypatch.setattr(method, "support", watched)
    with torch.inference_mode():
        method.predict_shots(segmentation_episode(0, 0, 1, 6, 32).without_truth())
    assert len(seen) == 6
