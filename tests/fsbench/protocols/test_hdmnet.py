"""HDMNet's test: its seeds, its numbers of episodes, and that it draws as `pfenet` does (hdmnet.md §7, §8)."""

import numpy as np

from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol


def test_seeds_and_numbers_are_the_programs():
    protocol = load_protocol("hdmnet")
    assert np.random.RandomState(123).randint(0, 1000, 10).tolist() == [*protocol.draw.averaged_seeds]
    assert [protocol.draw.episode_count(name, 5) for name in ("pascal", "coco")] == [1000, 10000]
    validation = protocol.in_validation
    assert [validation.draw.episode_count(name, 5) for name in ("pascal", "coco")] == [1000, 1000]
    assert (protocol.draw.seed, validation.draw.seed) == (510, 321)
    assert "365, 382, 322, 988, 98, 742, 17, 595, 106" in protocol.draw.seed_words()


def test_episodes_are_those_of_hmnets_test_with_the_seed(blocks_folder):
    drawn = [
        load_protocol(name).manifest(Folder(str(blocks_folder)), EpisodeTask(0, episodes=9, seed=365)).episodes
        for name in ("hdmnet", "pfenet")
    ]
    assert drawn[0] == drawn[1]
