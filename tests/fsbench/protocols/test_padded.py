"""Numbers of episodes of PFENet's program in test and validation (pfenet-method.md §6)."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.datasets.pascal.index import Pascal
from fsbench.protocols.padded import PaddedPFENet
from fsbench.protocols.registry import load_protocol
from tests.fsbench.protocols.test_filter import Synthetic


@pytest.mark.parametrize("asked", [None, 200])
def test_a_validation_makes_half_as_many_passes_as_the_test(asked):
    """A test makes 20 passes over a list of 12 images and a validation 10; both would stop after 5001 episodes."""
    protocol, index = load_protocol("pfenet2020"), Synthetic(Pascal)
    test, validation = (
        [(episode.query, episode.supports) for episode in one.manifest(index, EpisodeTask(0, episodes=asked)).episodes]
        for one in (protocol, protocol.in_validation)
    )
    listed = len({query for query, _ in test})
    assert listed == 12
    assert (len(test), len(validation)) == tuple(min(asked or 5001, passes * listed) for passes in (20, 10))
    assert validation == test[: len(validation)]


def test_other_protocols_validate_as_they_test():
    for name in ("bam", "pfenet", "fscs"):
        protocol = load_protocol(name)
        assert protocol.in_validation is protocol


def test_less_than_one_pass_is_refused():
    with pytest.raises(SettingsError, match="validation_passes is 0, expected 1 or more, or null"):
        PaddedPFENet("one", 1, "", passes=20, validation_passes=0).check_values()
