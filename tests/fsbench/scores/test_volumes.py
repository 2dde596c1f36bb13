"""Scores of scans against plain loops, and intervals that take scans as samples."""

import numpy as np
import polars as pl
import pytest

from fsbench.data.episodes.manifest import Header
from fsbench.scores.confusion import VOID_RULES
from fsbench.scores.count_table import CountTable
from fsbench.scores.rows import Groups
from fsbench.scores.volumes import VOXELS, Dice, VolumePrecision, VolumeRecall

HEADER = Header(
    protocol="alpnet", version=1, dataset="chaost2", fold=0, folds=10, way=1, shot=1, setting="original",
    classes="novel", empty=True, seed=None, lists="derived", all_lists_sha256=None, dropped_classes=[], requested=1,
    official_episodes=1, class_ids=[2, 3], class_names={"2": "RK", "3": "LK"}, slices=True,
)  # fmt: skip


@pytest.fixture
def frame():
    rng, rows = np.random.RandomState(0), []
    for episode, (scan, cls, z) in enumerate((s, c, z) for c in (2, 3) for s in "abcd" for z in range(5)):
        hits, missed, wrong = rng.randint(1, 50, 3)
        counts = {"tp": hits, "pred": hits + wrong, "gt": hits + missed, "pred_void": 3, "void": 4, "valid": 900}
        for slot in (0, 1):
            rows.append({"episode": episode, "slot": slot, "class_id": cls * slot, "query": f"{scan}/{z}"} | counts)
    present = {"present": True, "decided": True}
    return pl.DataFrame([row | present for row in rows])


def table(frame, header=HEADER):
    return CountTable(frame, [2, 3], (frame["slot"] > 0).to_numpy(), VOID_RULES["ignore"], True, header)


def plain(frame, metric):
    of_class = []
    for cls in (2, 3):
        shares = []
        for scan in "abcd":
            own = frame.filter((pl.col("class_id") == cls) & pl.col("query").str.starts_with(scan))
            tp, pred, gt = (int(own[name].sum()) for name in ("tp", "pred", "gt"))
            if not len(own):
                continue
            shares.append({"Dice": 2 * tp / (pred + gt), "voxel-precision": tp / pred, "voxel-recall": tp / gt}[metric])
        of_class.append(sum(shares) / len(shares))
    return 100 * sum(of_class) / 2


@pytest.mark.parametrize("metric", [Dice(), VolumePrecision(), VolumeRecall()], ids=lambda metric: metric.name)
def test_voxels_are_summed_by_scan_then_shares_averaged(frame, metric):
    sums = table(frame).sum(VOXELS)
    (found,) = metric.compute({"voxels": sums.total()}, None)
    assert found == pytest.approx(plain(frame, metric.name), abs=1e-12)
    without = frame.filter(~pl.col("query").str.starts_with("b"))
    rows = np.flatnonzero([name.startswith("b") for name in frame.filter(pl.col("slot") > 0)["query"]])
    left = sums.without(Groups(np.zeros_like(rows), rows, 1), table(frame).pair_rows.stratum)
    assert metric.compute({"voxels": left}, None)[0] == pytest.approx(plain(without, metric.name), abs=1e-9)


def test_a_scan_of_nothing_is_no_number_and_one_that_is_not_counted_is_left_out():
    voxels = np.array([[[[5, 9, 6, 3], [0, 0, 0, 2]], [[5, 9, 6, 3], [0, 0, 0, 0]]]])
    assert np.isnan(Dice().compute({"voxels": voxels}, None)[0])
    assert Dice().compute({"voxels": voxels[:, 1:]}, None)[0] == pytest.approx(100 * 10 / 15)
    assert np.isnan(Dice().compute({"voxels": np.zeros((1, 2, 2, 4))}, None)[0])


def test_a_test_of_photos_has_no_such_scores_and_one_of_slices_takes_scans_as_samples(frame):
    photos = HEADER.model_copy(update={"slices": False})
    assert table(frame, photos).sum(VOXELS) is None and table(frame, None).sum(VOXELS) is None
    assert len(np.unique(table(frame).pair_rows.query)) == 4
    assert len(np.unique(table(frame, photos).pair_rows.query)) == 20
