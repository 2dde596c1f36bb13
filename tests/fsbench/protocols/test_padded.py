"""Numbers of episodes of PFENet's program in test and validation (pfenet-method.md §6)."""

from dataclasses import replace

import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.protocols.draws.listed import Validation
from fsbench.protocols.reading import load_protocol
from tests.fsbench.protocols.test_filter import Synthetic


@pytest.mark.parametrize("asked", [None, 200])
def test_a_validation_makes_half_as_many_passes_as_the_test(asked):
    """A test makes 20 passes over a list of 12 images and a validation 10; both would stop after 5001 episodes."""
    protocol, data = load_protocol("pfenet2020"), Synthetic(Pascal)
    test, validation = (
        [(episode.query, episode.supports) for episode in one.manifest(data, Task(0, episodes=asked)).episodes]
        for one in (protocol, protocol.in_validation)
    )
    listed = len({query for query, _ in test})
    assert listed == 12
    assert (len(test), len(validation)) == tuple(min(asked or 5001, passes * listed) for passes in (20, 10))
    assert validation == test[: len(validation)]


def test_a_number_that_is_asked_for_is_exact_and_the_table_says_what_the_program_does_of_it():
    """The program, asked for 5000, evaluates 5001 (pfenet-method.md §6): the protocol's number, and its manifest."""
    protocol, data = load_protocol("pfenet2020"), Synthetic(Pascal)
    usual, asked = (protocol.manifest(data, Task(0, episodes=number)) for number in (None, 50))
    assert (usual.header.official_episodes, usual.header.requested) == (5001, 5001)
    assert (asked.header.requested, len(asked.episodes)) == (50, 50)
    assert asked.episodes == usual.episodes[:50]

    def said(header):
        return [note for note in protocol.rule_notes(header, {}) if "asked for" in note]

    assert said(usual.header) == []
    assert said(asked.header) == [
        "exactly the 50 episodes that were asked for; the authors' program, asked for so many, evaluates 51"
    ]
    protocol = load_protocol("bam")
    assert said(protocol.manifest(data, Task(0, episodes=50)).header) == []


def test_other_protocols_validate_as_they_test():
    for name in ("bam", "pfenet", "fscs"):
        protocol = load_protocol(name)
        assert protocol.in_validation == protocol


def test_less_than_one_pass_is_refused():
    for wrong in ({"passes": 0}, {"validation": Validation(passes=0)}):
        with pytest.raises(SettingsError, match="passes is 0, expected 1 or more"):
            replace(load_protocol("pfenet2020").draw, **wrong).check()
