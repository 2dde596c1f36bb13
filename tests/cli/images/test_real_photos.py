"""Real photos by the network that `fsbench[photos]` installs: its features give sense, and commands fall back on it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.records.record import find_records
from fsbench.scores.estimate import Estimate
from fsbench.scores.run_statistics import pair_statistics
from fsbench.scores.trivial import trivial_answers
from tests.fsbench.scores.once import differences_once

NETWORK = ["--backbone", "efficientnet_lite0"]


SAMPLES = {"pascal": "voc-mini", "coco": "coco-mini"}


def samples(dataset: str, real_data: Path, runs: Path, *more: str) -> list[str]:
    """The arguments of a bench on the samples of PASCAL or COCO, whose queries all show the class."""
    place = ["--dataset", dataset, "--data-root", str(real_data / SAMPLES[dataset]), "--drop-small"]
    return [*NETWORK, *place, "--runs", str(runs), "--protocol", "hsnet", "--data.loading.workers=0", "--quiet", *more]


def one_photo(real_data: Path) -> list[str]:
    """The arguments of a prediction for a photo of PASCAL VOC, which is its own support."""
    mask = min((real_data / "voc-mini/SegmentationClassAug").glob("*.png"))
    photo = real_data / "voc-mini/JPEGImages" / f"{mask.stem}.jpg"
    number = min(set(np.unique(np.asarray(Image.open(mask))).tolist()) - {0, 255})
    return ["--support", f"{photo}:{mask}", "--classes", f"{number}=object", "--query", str(photo)]


def gain_over_all_foreground(runs: Path) -> Estimate:
    """The mean gain in mIoU over the folds of `runs`, paired by query image, with its interval."""
    own, trivial = [], []
    for record in find_records(runs):
        classes = record.manifest.class_ids
        for kept, frame in ((own, record.episodes), (trivial, trivial_answers(record.episodes)["(all foreground)"])):
            kept.append(pair_statistics(frame, (frame["slot"] == 1).to_numpy(), classes, "background"))
    return differences_once(own, trivial)["mIoU"]


@pytest.mark.slow(60)
@pytest.mark.parametrize(("dataset", "folds"), [("pascal", "0,1"), ("coco", "0,1,2,3")])
def test_prototypes_of_a_real_network_find_real_objects(dataset, folds, real_data, tmp_path):
    few = samples(dataset, real_data, tmp_path, "--data.test.episodes=40")
    assert main(["bench", "--method", "prototype", "--fold", folds, *few]) == 0
    gain = gain_over_all_foreground(tmp_path)
    assert gain.low > 3, gain


def test_predict_falls_back_on_it_and_names_a_better_one(real_data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path / "empty"))
    out = tmp_path / "out"
    assert main(["predict", *one_photo(real_data), "--out", str(out), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "the weights of dinov2_vits14 are not here, so efficientnet_lite0 is used" in said.err + said.out
    assert "the better network: fsbench weights fetch dinov2_vits14" in said.err + said.out
    assert "official efficientnet-lite0-57934424.pth" in said.out and "224 pixels" in said.out
    assert json.loads((out / "annotations.json").read_text())["images"]


def test_the_demos_backbone_takes_ones_own_photos(real_data, tmp_path, capsys):
    """It failed: the method's 700 pixels are no multiple of its patches."""
    assert main(["predict", "--backbone", "demo", *one_photo(real_data), "--out", str(tmp_path / "out")]) == 0
    assert "128 pixels" in capsys.readouterr().out
