"""Which episodes of a run are there to be explained, and which of them no score counts."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.pages.explain.comparable_records import read_comparable_records, standing


def test_episodes_that_no_score_counts_have_a_reason(make):
    record = make("m", 0, protocol="presence", drop_small=True, draws=2, episodes=6)
    reasons = [standing(record, one.number) for one in record.manifest.episodes]
    assert reasons[:12] == [""] * 6 + [f"draw 1 of episode {number}" for number in range(6)]
    assert set(reasons[12:]) == {"only calibrates"}
    assert read_comparable_records([record.path], [7, len(reasons) - 1])
    with pytest.raises(SettingsError, match=rf"--episode is {len(reasons)}, expected 0 to {len(reasons) - 1}"):
        read_comparable_records([record.path], [len(reasons)])
