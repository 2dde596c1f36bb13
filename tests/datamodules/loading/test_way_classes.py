"""Methods that ask for it are told the place of a class among the test's, and its first episode."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fsbench.base.errors import TruthError
from fsbench.data.episodes.episode import Episode
from fsbench.datamodules.loading.way_classes import KEPT, WayClasses
from fsbench.runner.contract.episodes import segmentation_episode


def episode(number: int, *classes: int) -> Episode:
    return Episode(number, f"q{number}", classes[0], classes, tuple((f"s{number}.{c}",) for c in classes))


def manifest(*episodes: Episode) -> SimpleNamespace:
    numbers = sorted({number for one in episodes for number in one.classes})
    return SimpleNamespace(header=SimpleNamespace(class_ids=numbers[::-1], calibration_ids=[]), episodes=episodes)


class Loader:
    """Loads drawn episodes, and remembers which."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __call__(self, one: Episode):
        self.loaded.append(one.number)
        drawn = segmentation_episode(0, one.number, len(one.classes), 2, 32)
        return replace(drawn, episodes=torch.tensor([one.number]))


def test_the_first_episode_is_that_of_the_manifest():
    episodes = episode(0, 20, 30), episode(1, 10, 20), episode(2, 30, 10), episode(3, 10, 30)
    classes, load = WayClasses(manifest(*episodes), "first episodes"), Loader()
    ten, thirty = classes.told(episodes[3], load)
    assert (ten.place, thirty.place) == (0, 2)
    openings = [(int(one.opening.episode.episodes[0]), one.opening.way, one.opening.order) for one in (ten, thirty)]
    assert openings == [(1, 0, 2), (0, 1, 1)] and load.loaded == [1, 0]
    again = classes.told(episodes[2], load)
    assert load.loaded == [1, 0] and again[0].opening.episode is thirty.opening.episode
    whole, part = segmentation_episode(0, 0, 2, 2, 32), thirty.opening.episode
    assert part.support.shape == (1, 1, 2) and torch.equal(part.support_labels, whole.support_labels[:, 1:])
    with pytest.raises(TruthError, match="a method asked for the truth"):
        _ = part.truth.label_maps


def test_places_alone_load_nothing():
    classes, load = WayClasses(manifest(episode(0, 20), episode(1, 10)), "places"), Loader()
    (told,) = classes.told(episode(5, 20), load)
    assert (told.place, told.opening, load.loaded) == (1, None, [])


def test_few_first_episodes_are_kept():
    episodes = [episode(i, i + 1) for i in range(KEPT + 1)]
    classes, load = WayClasses(manifest(*episodes), "first episodes"), Loader()
    for one in [*episodes, episodes[-1], episodes[0]]:
        classes.told(one, load)
    assert load.loaded == [*range(KEPT + 1), 0]
