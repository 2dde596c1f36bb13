"""Likeness of supports to their queries: by its definition, with the features of one image in memory at a time."""

import weakref
from collections import Counter

import numpy as np
import pytest
import torch

from fsbench.data.episodes.episode import Episode
from fsbench.pages.explain.support_properties import similarities


def drawn(name: str) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(int(name))), dim=-1
    )


def mask(name: str, number: int) -> np.ndarray:
    """Mark whole patches, of 2 x 2 pixels; image 3 shows nothing of class 2."""
    patches = np.random.default_rng([int(name), number]).random((4, 5)) < 0.4
    return np.kron(patches if (name, number) != ("3", 2) else np.zeros((4, 5)), np.ones((2, 2))).astype(bool)


def plain(episode: Episode) -> float:
    values = []
    for number, way in zip(episode.classes, episode.supports, strict=True):
        for name in way:
            inside = mask(name, number)[::2, ::2]
            mean = drawn(name).numpy()[inside].sum(0)
            cosines = drawn(episode.query).numpy().reshape(-1, 6) @ (mean / np.sqrt((mean**2).sum()))
            values.append(np.sort(cosines)[-2:].mean() if inside.any() else np.nan)
    return float(np.mean(values))


def test_similarities_are_those_of_a_plain_implementation_and_keep_no_images():
    rng = np.random.default_rng(1)
    episodes = [
        Episode(
            number, str(rng.integers(4)), 1, (1, 2), tuple(tuple(map(str, rng.integers(8, size=2))) for _ in range(2))
        )
        for number in range(12)
    ]
    alive, times, most = weakref.WeakSet(), Counter(), []

    def encoded(name: str) -> torch.Tensor:
        features = drawn(name)
        alive.add(features)
        times[name] += 1
        most.append(len(alive))
        return features

    with np.errstate(invalid="ignore"):
        expected = [plain(episode) for episode in episodes]
    assert np.isnan(expected).any() and not np.isnan(expected).all()
    found = similarities(episodes[::-1], encoded, mask)
    assert found == pytest.approx(np.array(expected), nan_ok=True, rel=1e-5)
    assert max(times.values()) <= 2 and max(most) <= 3  # the new one, the one before, the last support's
