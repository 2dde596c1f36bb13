"""DistillFSS's test and FoB's test of skin lesions on drawn data, through the real command line."""

from pathlib import Path

import pytest

from fsbench.records.record import find_records
from tests.drawn_lists import DRAWN, draw_lesion_folds, draw_set

SHOTS = {"isic_listed": "9", "industrial": "10"}
SMALL = ["--backbone", "demo", "--data.image_size=64", "--data.loading.workers=0", "--no-trivial"]


@pytest.mark.parametrize(
    "dataset",
    [name if name in ("pothole", "weedmap") else pytest.param(name, marks=pytest.mark.slow) for name in DRAWN],
)
def test_distillfss_on_a_drawn_folder(dataset, warm, tmp_path):
    data = draw_set(tmp_path / "data", dataset)
    place = ["--dataset", dataset, "--data-root", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    done = warm("bench", "--method", "prototype", "--shot", SHOTS.get(dataset, "5"), *place, *SMALL)
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    queries = [one.query for one in record.manifest.episodes]
    assert queries == list(data.in_fold(0, 1).candidates("val")) and record.header.way == len(data.test_classes(0))
    assert "mIoU+background" in done.stdout and "labelled images in all" in done.stdout
    assert ("in spirit only" in done.stdout) == (dataset in ("weedmap", "isic_listed"))


def test_fobs_test_of_lesions_asks_for_each_image_once(warm, tmp_path):
    """A lesion that is alone in its fold and class is its own support, as in the authors' program."""
    root = tmp_path / "data"
    chosen = draw_lesion_folds(root)
    place = ["--dataset", "isic_folds", "--data-root", str(root), "--runs", str(tmp_path / "runs")]
    done = warm("bench", "--method", "prototype", *place, *SMALL)
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    pairs = [(Path(one.query).stem, Path(one.supports[0][0]).stem) for one in record.manifest.episodes]
    assert pairs == [(chosen[1], chosen[0]), (chosen[2], chosen[1]), (chosen[0], chosen[2]),
                     (chosen[4], chosen[3]), (chosen[3], chosen[4]), (chosen[5], chosen[5])]  # fmt: skip
    rows = record.episodes.filter(record.episodes["slot"] == 1)
    dice = (200 * rows["tp"] / (rows["pred"] + rows["gt"])).to_list()
    by_class = [sum(dice[:3]) / 3, sum(dice[3:5]) / 2, dice[5]]
    assert record.scores["Dice-by-image"] == pytest.approx(sum(by_class) / 3)
    assert set((rows["valid"] + rows["void"]).to_list()) == {256**2}
