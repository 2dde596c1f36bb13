"""FSSDINO: channels of masks, draws, what leaves an answer as it is (fssdino.md §2, §3)."""

from dataclasses import replace

import numpy as np
import torch

from fsbench.methods.fssdino import FSSDINO, Draws, class_masks, class_scores, compare_classes, support_classes
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.episodes import segmentation_episode


def method(**settings: object) -> FSSDINO:
    return FSSDINO(BackboneConfig("demo", "random:1"), **settings).eval()


def scene(seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A query (C, h, w), and features (n, C) of the background and two classes."""
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(10, 6, 6, generator=rng)
    return query, [torch.randn(n, 10, generator=rng) for n in (40, 20, 9)]


def test_a_support_is_in_the_channels_of_its_way_and_of_the_background_and_void_in_none():
    labels = torch.tensor([[[[0, 1, 255]]], [[[1, 0, 0]]]], dtype=torch.uint8)
    masks = class_masks(labels, torch.tensor([[3], [4]]))
    assert masks.shape == (2, 3, 1, 3)
    assert masks[0, :, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert masks[1, :, 0].int().tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_a_pixel_has_the_class_that_its_image_shows_whichever_way_the_support_is_of():
    """By the map of all ways, or by another support of the same image; against pixels in a loop."""
    rng = np.random.default_rng(0)
    images = torch.tensor([[0, 1], [1, 2], [3, 0]])
    photos = rng.choice([0, 1, 2, 3, 255], (4, 5, 6), p=[0.4, 0.15, 0.15, 0.15, 0.15])
    shown = torch.from_numpy(photos[images.numpy()].astype(np.uint8))
    own = torch.stack(
        [torch.where(maps == 255, 255, (maps == way).to(torch.uint8)) for way, maps in enumerate(shown, 1)]
    )
    told = {0: {1, 3}, 1: {1, 2}, 2: {2}, 3: {3}}  # image -> ways that it supports
    for given in (shown, None):
        masks = class_masks(own, images, given)
        for support, photo in enumerate(images.flatten().tolist()):
            for place in np.ndindex(5, 6):
                value = int(photos[photo][place])
                known = value if given is not None or value in told[photo] else 0
                expected = [value != 255 and known == channel for channel in range(4)]
                assert masks[support, :, place[0], place[1]].tolist() == expected


def test_it_is_told_what_supports_show_of_other_ways():
    episode = next(segmentation_episode(1, 0, 2, 1, 64).split()).without_truth()
    labels = episode.support_labels.clone()
    shown = torch.stack([labels[:, 0], 2 * labels[:, 1].clamp(max=1)], 1)
    shown[:, 0, :, 40:] = 2  # an object of the second way in the first one's support
    answers = [method().predict_shots(replace(episode, support_ways=maps)).logits for maps in (None, shown)]
    assert not torch.equal(*answers)


def test_classes_without_pixels_draw_nothing_and_are_never_predicted():
    query, (background, first, second) = scene(4)
    with_gap = compare_classes(query, support_classes([background, first[:0], second], 3, Draws(2)))
    without = compare_classes(query, support_classes([background, second], 3, Draws(2)))
    assert with_gap[1] is None and without[1] is not None and with_gap[2] is not None
    assert torch.equal(with_gap[2].cosines, without[1].cosines)
    assert not (class_scores(with_gap, (12, 12)).argmax(0) == 1).any()


def test_draws_follow_the_seed_and_the_episode_and_leave_numpys_generator_alone():
    episode = next(segmentation_episode(0, 0, 1, 1, 64).split()).without_truth()
    np.random.seed(3)
    expected = np.random.rand(3)
    np.random.seed(3)
    answers = [method(seed=seed).predict_shots(episode).logits for seed in (0, 0, 1)]
    assert np.array_equal(np.random.rand(3), expected)
    other = method().predict_shots(replace(episode, episodes=torch.tensor([5]))).logits
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2]) and not torch.equal(answers[0], other)


def test_both_generators_follow_all_of_the_seed():
    drawn = [
        (draws.rows(100, 5).tolist(), torch.randint(10**6, (3,), generator=draws.torch).tolist())
        for draws in map(Draws, ((0, 7), (0, 7), (1, 7), (0, 8)))
    ]
    assert drawn[0] == drawn[1]
    for other in drawn[2:]:
        assert other[0] != drawn[0][0] and other[1] != drawn[0][1]


def test_the_scores_follow_from_the_maps_that_are_shown():
    """With one cluster there is one cosine map, and the score is mean times largest of it and the Gram map."""
    episode = next(segmentation_episode(0, 0, 1, 1, 64).split()).without_truth()
    found = method(n_clusters=1)
    maps = found.query_maps(episode)
    names = ("prototypes", "cosine", "Gram map")
    assert list(maps) == [*(f"{name} of the background" for name in names), *names]
    scores = []
    for whose in (" of the background", ""):
        pair = torch.stack([maps[f"cosine{whose}"], maps[f"Gram map{whose}"]])[None]
        full = torch.nn.functional.interpolate(pair, (64, 64), mode="bilinear", align_corners=False)[0]
        scores.append(full.mean(0) * full.amax(0))
    expected = torch.nn.functional.interpolate(
        (scores[1] > scores[0])[None, None].float(), tuple(episode.query_sizes[0].tolist()), mode="nearest-exact"
    )
    found.keeps_soft_masks = True
    prediction = found.predict_shots(episode)
    assert torch.equal(prediction.label_map, expected[0, 0].long())
    assert torch.equal(prediction.attention[0], maps["cosine"].clamp(0, 1)) and prediction.attention.std() > 0
    nothing = replace(episode, support_labels=torch.zeros_like(episode.support_labels))
    assert found.predict_shots(nothing).attention is None
    five = method().query_maps(episode)
    assert not maps["prototypes"].any() and set(five["prototypes"].unique().tolist()) <= set(range(5))
    two = method().query_maps(next(segmentation_episode(1, 0, 2, 1, 64).split()).without_truth())
    assert {"Gram map 1", "Gram map 2"} < set(two)


def test_the_layer_is_a_block_of_the_backbone():
    episode = next(segmentation_episode(0, 0, 1, 1, 64).split()).without_truth()
    last, first = (method(layer=layer).predict_shots(episode).logits for layer in (-1, 0))
    assert torch.equal(last, method(layer=5).predict_shots(episode).logits) and not torch.equal(last, first)
