"""The rule by which controls betray a method: its false alarms, and that it finds who knows the truth."""

from itertools import product

import numpy as np
import pytest

from fsbench.base.errors import RecordError
from fsbench.records.run import check_run
from fsbench.scores.controls import CONTROLS, FALSE_ALARM, ControlOutcome, chance
from tests.fsbench.runs import some_run


def test_chance_is_that_of_all_coins():
    for told in range(11):
        throws = [sum(coins) for coins in product((0, 1), repeat=told)]
        for right in range(told + 1):
            assert chance(right, told) == np.mean([number >= right for number in throws])


@pytest.mark.parametrize("told", range(CONTROLS + 1))
def test_false_alarms_are_rarer_than_promised(told):
    """Over all that chance may give, whatever number of answers tells the classes apart."""
    outcomes = [ControlOutcome(CONTROLS, told, right) for right in range(told + 1)]
    alarm = sum(chance(one.right, told) - chance(one.right + 1, told) for one in outcomes if one.betrayed)
    assert alarm <= FALSE_ALARM
    assert outcomes[-1].betrayed == (told >= 10)


def test_words():
    assert "need a query that shows two classes" in ControlOutcome(0, 0, 0).words
    assert ControlOutcome(24, 24, 24).words.startswith("BETRAYED")
    assert "too few answers" in ControlOutcome(24, 9, 9).words
    assert ControlOutcome.from_answers([True, None, False, True]) == ControlOutcome(4, 3, 2)


@pytest.mark.parametrize("counts", [(24, 25, 3), (24, 3, 4), (1000, 3, 3)])
def test_a_record_with_impossible_controls_is_none(counts, tmp_path):
    controls, told, right = counts
    values = some_run({"manifest_sha256": "0", "training": None}).as_json()
    blind = {"process": "bwrap", "controls": controls, "told": told, "right": right, "secret": "0"}
    with pytest.raises(RecordError, match="controls"):
        check_run(values | {"blind": blind}, tmp_path / "run.json")
