"""ALPNet on drawn scans: trained on their superpixels by name, and the trained method through the other doors."""

import lightning as L
import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.cli.main import main
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading
from fsbench.records.record import find_records
from fsbench.runner.engine.restore import load_run
from tests.drawn_volumes import draw_prepared

SIDE, FOLD = 128, 5
SEEN = {"image_size": SIDE, "input_resize": "intensities"}


@pytest.mark.slow(40)
def test_a_trained_network_has_one_dice_through_all_doors(warm, tmp_path, monkeypatch):
    root = draw_prepared(tmp_path / "scans", ids=(1, 2, 3, 5, 8, 10, 13), slices=5, side=SIDE)
    asked = ["--method", "alpnet", "--dataset", "chaost2", "--backbone", "demo", "--weights", "random", "--no-trivial"]
    small = ["--data.training.epoch_length=4", "--trainer.max_epochs=2", f"--data.image_size={SIDE}"]
    setting_2 = "--data.training.filter_novel=true"
    place = ["--data-root", str(root), "--runs", str(tmp_path / "runs"), "--fold", str(FOLD)]
    done = warm("bench", *asked, *small, setting_2, *place)
    assert done.returncode == 1 and "show a class of the test; expected some without" in done.stderr  # all slices do
    done = warm("bench", *asked, *small, *place)
    assert done.returncode == 0, done.stderr
    (record,) = find_records(tmp_path / "runs")
    dice = record.scores["Dice"]
    assert 5 < dice < 100
    training = record.run.weights.training
    assert training.settings["training_items"] == "superpixels" and training.chosen_by == "last"

    method = load_run(record.path).method
    data = EpisodicDataModule(
        ChaosT2(str(root)), EpisodicTest(protocol="alpnet", fold=FOLD),
        loading=Loading(workers=0), **SEEN,
    )  # fmt: skip
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet)
    (found,) = trainer.test(method, datamodule=data, verbose=False)
    assert found["test/Dice"] == pytest.approx(dice, abs=1e-9)

    test = fsbench.load_test("chaost2", root=root, fold=FOLD, protocol="alpnet")
    result = fsbench.evaluate(method, test, runs=tmp_path / "handed", **SEEN)
    assert result.scores["Dice"] == pytest.approx(dice, abs=1e-9)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "masks").mkdir()
    for answers in trainer.predict(method, datamodule=data):
        for answer in answers:
            mask = np.asarray(answer["label_map"]).astype(np.uint8)
            Image.fromarray(mask).save(tmp_path / f"masks/{answer['episode']}.png")
    kit = ["kit", "chaost2", "--data-root", str(root), "--fold", str(FOLD), "--protocol", "alpnet", "--out", "kit"]
    assert main(kit) == 0
    assert main(["score", "masks", "--kit", "kit", "--data-root", str(root), "--name", "x", "--runs", "scored"]) == 0
    (scored,) = find_records(tmp_path / "scored")
    assert scored.scores["Dice"] == pytest.approx(dice, abs=1e-9)
