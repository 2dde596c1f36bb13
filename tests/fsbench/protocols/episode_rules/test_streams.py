"""Streams of loader processes against torch's own loader."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fsbench.base.errors import SettingsError
from fsbench.protocols.episode_rules.streams import Streams, drawn_seeds, loader_seeds, parse_seeds


class Draws(Dataset):
    """Items are the next numbers of Python's and NumPy's global generators."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, place: int) -> tuple[int, float, float]:
        return place, random.random(), float(np.random.random_sample())


def loaded(seed: int, workers: int, passes: int) -> list[tuple[int, float, float]]:
    """Return the items of a loader of this many processes, pass after pass, after a program has set all seeds."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    loader = DataLoader(Draws(), batch_size=1, num_workers=workers, collate_fn=lambda batch: batch[0])
    return [item for _ in range(passes) for item in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_items_are_those_of_torch_s_loader(workers):
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = loaded(123, workers, passes=2)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    drawn = islice(Streams(123, workers).items(5), 10)
    found = [(place, own.python.random(), float(own.numpy.random_sample())) for place, own in drawn]
    assert found == expected


def test_given_base_seeds_and_copied_states():
    streams = Streams(7, workers=2, base_seeds=(40, 90), numpy="copied")
    first = [own for _, own in islice(streams.items(3), 6)]
    assert [own.python.random() for own in (first[0], first[1], first[3])] == [
        random.Random(seed).random() for seed in (40, 41, 90)
    ]
    parent = np.random.RandomState(7).random_sample()
    assert all(own.numpy.random_sample() == parent for own in (first[0], first[1], first[3], first[4]))
    with pytest.raises(SettingsError, match="base_seeds has 2 seeds, and the episodes need another pass"):
        list(islice(streams.items(3), 7))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("321", (321,)),
        ("123, 321, 456", (123, 321, 456)),
        ("1234-1238", (1234, 1235, 1236, 1237, 1238)),
        ("5 seeds drawn with numpy seed 321", (538, 124, 799, 809, 712)),
        ("42 (a generator of seed, index and epoch for each episode)", (42,)),
        ("unseeded", (0,)),
    ],
)
def test_forms_of_seeds(text, values):
    seeds = parse_seeds(text)
    assert seeds is not None and seeds.values == values
    assert bool(seeds.in_spirit) == (text == "unseeded")


def test_seeds_in_free_words_are_none():
    assert parse_seeds("not found") is parse_seeds("42 + rank, loader processes") is None
    assert drawn_seeds(10, 123)[:5] == (510, 365, 382, 322, 988)


def test_a_network_takes_words_of_torch_s_generator():
    state = torch.get_rng_state()
    torch.manual_seed(11)
    torch.randperm(1002)  # a word for each place but the last
    expected = [int(torch.empty((), dtype=torch.int64).random_()) for _ in range(3)]
    torch.set_rng_state(state)
    assert list(islice(loader_seeds(11, 1001), 3)) == expected
