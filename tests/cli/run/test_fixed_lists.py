"""DistillFSS's test and FoB's test of skin lesions on drawn data, through the real command line."""

import csv
import gzip
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from fsbench.datamodules.datasets.isic import FOLD_LIST, IMAGES, MASKS, NUMBERINGS
from fsbench.records.record import find_records
from tests.drawn_lists import DRAWN, draw_set
from tests.goldens.kinds.distillfss import ellipse, grey_image, save

KINDS = ("melanoma", "nevus", "seborrheic_keratosis")

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
    folds, root = lesion_folds(), tmp_path / "data"
    of_fold = {kind: [name for name, (own, fold) in folds.items() if (own, fold) == (kind, 1)] for kind in KINDS}
    chosen = [*of_fold["melanoma"][:3], *of_fold["nevus"][:2], *of_fold["seborrheic_keratosis"][:1]]
    others = [next(name for name, (_, own) in folds.items() if own == fold) for fold in (2, 3, 4, 5)]
    for name in (*chosen, *others):
        save_lesion(root, name, folds[name][0])
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
    assert record.run.scores["Dice-by-image"] == pytest.approx(sum(by_class) / 3)
    assert set((rows["valid"] + rows["void"]).to_list()) == {256**2}


def lesion_folds() -> dict[str, tuple[str, int]]:
    """Return {image id: (kind of lesion, FoB's fold)} by the file of the suite."""
    rows = csv.DictReader(StringIO(gzip.decompress(FOLD_LIST.read_bytes()).decode()))
    return {row["id"]: (row["class"], int(row["fold"])) for row in rows}


def save_lesion(root: Path, name: str, kind: str) -> None:
    """Write a drawn lesion and its mask as `fsbench data prepare isic` does."""
    rng = np.random.RandomState(int(name[-5:]))
    shown = ellipse(90, 120, *rng.randint(35, 55, 2), *rng.randint(12, 30, 2))
    for folder in (1, 2, 3):
        (root / IMAGES / str(folder)).mkdir(parents=True, exist_ok=True)
    image = grey_image(name, shown, 60)
    save(root / IMAGES / f"{NUMBERINGS['ifa'].index(kind) + 1}/{name}.jpg", np.repeat(image[..., None], 3, 2), "JPEG")
    save(root / MASKS / f"{name}_segmentation.png", shown * np.uint8(255))
