"""Means over trainings (statistics spec §13) beside the goldens: one training, no interval, equal weights."""

import numpy as np
import pytest

from fsbench.scores.calibration import PresenceECE
from fsbench.scores.estimate import Scope
from fsbench.scores.rows import Rows, RowSum
from fsbench.scores.scores import MeanIoU
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trainings import (
    Reach,
    Trained,
    TrainedPart,
    differences,
    estimates,
    ranked_together,
)
from tests.fsbench.scores.once import differences_once, scores_once

ROWS = Rows(np.arange(40) % 20, (np.arange(40)[:, None] * 7 + 3) % 20, np.arange(40) % 4)
"""Rows whose images are queries in some rows and supports in others."""


def counted(seed, skill):
    rng = np.random.default_rng(seed)
    truth = rng.integers(200, 400, len(ROWS.query))
    hits = (truth * rng.uniform(skill - 0.1, skill + 0.1, len(truth))).astype(int)
    classes = {"intersection": hits, "union": truth + 30, "truth": truth}
    sums = {name: RowSum(values, ROWS.cls, 4) for name, values in classes.items()}
    sums["background"] = RowSum(np.stack([900 - truth, 930 - hits], 1))
    return ScoreStatistics(ROWS, sums, (MeanIoU(),), is_whole=False)


def several(*parts):
    """Return a method: for each part the (seed, skill) of its trainings."""
    trained = [TrainedPart([[counted(*one)] for one in own], [place]) for place, own in enumerate(parts)]
    return Trained(trained)


def test_one_training_of_all_folds_is_as_one_of_each():
    one, other = several([(1, 0.6)], [(2, 0.5)]), several([(3, 0.4)], [(4, 0.5)])
    found, expected = estimates(one)["mIoU"], scores_once(one.first)["mIoU"]
    assert found.reach is Reach.THESE and found.other is None and found.numbers == ["1"]
    for name in ("value", "low", "high", "error", "df"):
        assert getattr(found.these, name) == pytest.approx(getattr(expected, name))
    (pair,) = differences({"a": one, "b": other}, [("a", "b")])["mIoU"]
    assert pair.difference.these.p == pytest.approx(differences_once(one.first, other.first)["mIoU"].p)
    assert pair.scores == pytest.approx([scores_once(method.first)["mIoU"].value for method in (one, other)])


def test_a_score_without_interval_has_a_mean_over_trainings():
    """Also where images are query and support: there are no influences to multiply."""
    bins = np.zeros((40, 15, 3))
    bins[np.arange(40), np.arange(40) % 15] = [1, 0.5, 1]
    runs = [ScoreStatistics(ROWS, {"presence_bins": RowSum(bins * [1, own, 1])}, (PresenceECE(),)) for own in (1, 0.5)]
    found = estimates(Trained([TrainedPart([[run] for run in runs], [0])]))["presence-ECE"]
    assert found.these.value == pytest.approx((50 + 75) / 2) and found.these.scope is Scope.NONE


def test_the_same_weights_are_one_training():
    """Two thresholds of three networks: what the networks differ in is no difference of the thresholds."""
    low, high = (several([(seed, skill + own) for seed, own in enumerate((0, 0.2, 0.1))]) for skill in (0.4, 0.45))
    pairs = {"low": low, "high": high}, [("high", "low")]
    (apart,), (paired,) = (differences(*pairs, lambda *two, same=same: same)["mIoU"] for same in (False, True))
    assert paired.difference.these.value == pytest.approx(apart.difference.these.value)
    assert paired.difference.other.error < apart.difference.other.error / 3
    assert len(paired.difference.spreads) == 1 and paired.difference.numbers == ["3"]


def test_a_method_without_training_is_ranked_with_the_widest_reach():
    reaches = {"a": Reach.THESE, "b": Reach.UNTRAINED}
    assert ranked_together(reaches) == {"a": Reach.THESE, "b": Reach.THESE}
    assert ranked_together(reaches | {"c": Reach.OTHER})["b"] is Reach.OTHER
    assert ranked_together({"b": Reach.UNTRAINED}) == {"b": Reach.UNTRAINED}
