"""A Trainer of Lightning by hand: fit, validate, test and predict log the scores that a run has, to the last bit."""

import json
import os
import subprocess
import sys

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from fsbench.base.errors import SettingsError
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading, Training
from fsbench.datamodules.stages import Stages
from fsbench.methods.emat import EMAT
from fsbench.methods.prototype import Prototype
from fsbench.methods.sam3_exemplars import SAM3Exemplars
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam2_sam3 import Sam3NetConfig
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.watchdog import safe_imports
from fsbench.runner.engine.run import run_experiment
from tests.config_words import parse_run

FOLDER = "fsbench.datamodules.datasets.folder.Folder"


def trainer(**options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return L.Trainer(**{"enable_checkpointing": False, **quiet, **options})


def blocks(folder, validation_episodes=4):
    return EpisodicDataModule(
        Folder(str(folder)),
        EpisodicTest(way=2, episodes=8),
        Training(validation="base", validation_episodes=validation_episodes, batch_size=4),
        Loading(workers=0),
        image_size=32,
    )


def prototype():
    return Prototype(BackboneConfig("demo", "random:0"))


def words(folder):
    """Options of a run of the suite on `blocks`."""
    return [
        f"--data.dataset={FOLDER}", f"--data.dataset.root={folder}", "--data.image_size=32", "--data.test.episodes=8",
        "--data.training.validation_episodes=4", "--data.loading.workers=0", "--trainer.accelerator=cpu",
        "--data.training.batch_size=4", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip


def bench(method, folder, runs, *more, **options):
    """The record of a run of the suite on `blocks`."""
    extra = [*words(folder), *more]
    request = RunConfig(
        method, "demo", way=2, runs=str(runs), backbone="demo", weights="random:0", extra=extra, **options
    )
    return run_experiment(Experiment(parse_run(request)))


def test_the_scores_of_a_test_are_those_of_a_run(blocks_folder, tmp_path):
    (found,) = trainer().test(prototype(), datamodule=blocks(blocks_folder), verbose=False)
    record = bench("prototype", blocks_folder, tmp_path)
    assert found == {f"test/{name}": value for name, value in record.scores.items()}
    assert {"test/mIoU", "test/FB-IoU", "test/accuracy"} <= found.keys() and found["test/mIoU"] > 0


@pytest.mark.slow(3)
def test_a_method_that_is_told_more_is_told_it_in_a_test_by_hand(blocks_folder, tmp_path):
    """Photos at their own size and boxes, which the data module brings for the method."""
    pytest.importorskip("transformers")
    method = SAM3Exemplars(Sam3NetConfig("sam3_demo", "random:0"), threshold=0.25)
    (found,) = trainer().test(method, datamodule=blocks(blocks_folder), verbose=False)
    request = RunConfig("sam3_exemplars", "demo", way=2, runs=str(tmp_path), extra=words(blocks_folder))
    record = run_experiment(Experiment(parse_run(request)))
    assert found == {f"test/{name}": value for name, value in record.scores.items()} and found["test/mIoU"] > 0


def over_asked(scores, name, manifest, count):
    """Change a mean over all classes, of which those of no episode count as 0, to one over those that are asked for."""
    asked = {number for episode in manifest.episodes[:count] for number in episode.classes}
    return scores[name] * len(manifest.class_ids) / len(asked)


@pytest.mark.parametrize(("limit", "count"), [({"limit_test_batches": 3}, 3), ({"fast_dev_run": True}, 1)])
def test_a_limited_test_scores_what_it_tested(blocks_folder, limit, count):
    """The scores are those of the first episodes, of the classes that they ask for, and a line says how many."""
    data = blocks(blocks_folder)
    with pytest.warns(UserWarning, match=f"{count} of 8 episodes were tested"):
        (found,) = trainer(**limit).test(prototype(), datamodule=data, verbose=False)
    test = EpisodicTest(way=2, episodes=count)
    alone = EpisodicDataModule(Folder(str(blocks_folder)), test, loading=Loading(workers=0), image_size=32)
    (expected,) = trainer().test(prototype(), datamodule=alone, verbose=False)
    for name in ("test/mIoU", "test/pixel-accuracy"):
        expected[name] = over_asked(expected, name, data.manifest, count)
    assert found == pytest.approx(expected, nan_ok=True) and found["test/mIoU"] > 0


class Untaught(Prototype):
    """Its training changes nothing of what it answers."""

    def __init__(self):
        super().__init__(BackboneConfig("demo", "random:0"))
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return self.unused.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.slow(2)
def test_a_limited_validation_scores_what_it_validated(blocks_folder):
    """By `validate`, by the sanity steps of a fit, and by its validation."""
    found = []

    class Scores(L.Callback):
        def on_validation_end(self, trainer, method):
            found.append(float(trainer.callback_metrics["val/mIoU"]))

    data, some = blocks(blocks_folder), {"limit_val_batches": 3, "callbacks": [Scores()]}
    with pytest.warns(UserWarning, match="3 of 4 episodes were validated"):
        trainer(**some).validate(Untaught(), datamodule=data, verbose=False)
    with pytest.warns(UserWarning, match="2 of 4 episodes were validated"):
        trainer(max_epochs=1, limit_train_batches=1, num_sanity_val_steps=2, **some).fit(Untaught(), datamodule=data)
    expected = {}
    for count in (2, 3):
        alone = blocks(blocks_folder, validation_episodes=count)
        (scores,) = trainer().validate(Untaught(), datamodule=alone, verbose=False)
        expected[count] = over_asked(scores, "val/mIoU", data.validation_manifest, count)
    assert found == pytest.approx([expected[3], expected[2], expected[3]]) and found[0] > 0


@pytest.mark.slow(2)
def test_averaged_weights_are_tested_with_the_callback_that_averages_them(blocks_folder, tmp_path):
    best = ModelCheckpoint(tmp_path, "best", monitor="val/mIoU", mode="max")
    method, data = EMAT(BackboneConfig("demo", "random:0"), support_side=4), blocks(blocks_folder)
    averaging = EMAWeightAveraging(decay=0.5)
    fitting = trainer(max_epochs=1, limit_train_batches=2, enable_checkpointing=True, callbacks=[averaging, best])
    fitting.fit(method, datamodule=data)
    written = torch.load(tmp_path / "best.ckpt", weights_only=True)
    name = next(iter(dict(method.named_parameters())))
    assert not torch.equal(written["state_dict"][name], written["current_model_state"][name])
    for stage in (fitting.test, fitting.validate, fitting.predict):
        stage(method, datamodule=data, ckpt_path="best")
        assert torch.equal(method.state_dict()[name], written["state_dict"][name])


def test_a_callback_with_tf32_follows_the_data_modules_of_its_trainer(blocks_folder):
    first, second = (
        blocks(blocks_folder),
        EpisodicDataModule(
            Folder(str(blocks_folder)), EpisodicTest(fold=1, episodes=4), loading=Loading(workers=0), image_size=32
        ),
    )
    testing = trainer(callbacks=[Stages(first, tf32=(True, True))])
    testing.test(prototype(), datamodule=first, verbose=False)
    (alone,) = trainer().test(prototype(), datamodule=second, verbose=False)
    assert testing.test(prototype(), datamodule=second, verbose=False) == [alone]


def test_a_look_at_the_test_leaves_a_validation_as_it_is(blocks_folder):
    """The two have episodes of equal numbers."""

    class Looks(L.Callback):
        def on_validation_batch_start(self, trainer, *given):
            list(trainer.datamodule.test_dataloader())

    plain, looked_at = (
        trainer(callbacks=more).validate(prototype(), datamodule=blocks(blocks_folder), verbose=False)
        for more in ([], [Looks()])
    )
    assert plain == looked_at


@pytest.mark.slow(2)
def test_a_method_that_calibrates_does_so_before_the_test(blocks_folder, tmp_path):
    method = Prototype(BackboneConfig("demo", "random:0"), selection="base")
    (found,) = trainer().test(method, datamodule=blocks(blocks_folder), verbose=False)
    record = bench("prototype", blocks_folder, tmp_path, "--model.selection=base")
    assert record.run.made.calibration
    assert found == {f"test/{name}": value for name, value in record.scores.items()}


SCRIPT = """
import json
import pathlib
import sys

import lightning as L

from fsbench.networks.backbones.base import BackboneConfig
from fsbench.datamodules.options import EpisodicTest, Loading
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.methods.prototype import Prototype

test, loading = EpisodicTest(way=2, episodes=int(sys.argv[3])), Loading(workers=0)
data = EpisodicDataModule(Folder(sys.argv[1]), test, loading=loading, image_size=32)
trainer = L.Trainer(
    devices=int(sys.argv[2]), strategy="ddp" if sys.argv[2] == "2" else "auto", accelerator="cpu", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)
(scores,) = trainer.test(Prototype(BackboneConfig("demo", "random:0")), datamodule=data, verbose=False)
pathlib.Path(f"{sys.argv[2]}-{trainer.global_rank}.json").write_text(json.dumps(scores))  # lines of two could mix
"""


def script(folder, blocks_folder, processes, episodes):
    """Run `SCRIPT` in a folder."""
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "script.py", str(blocks_folder), str(processes), str(episodes)],
        cwd=folder, env=os.environ | safe_imports(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow(6)
def test_fewer_episodes_than_processes_are_refused(blocks_folder, tmp_path):
    """Lightning skips the test in a process without a batch, and gives no scores and status 0."""
    done = script(tmp_path, blocks_folder, 2, 1)
    assert done.returncode and "the test has 1 episodes, fewer than the 2 processes of this Trainer" in done.stderr
    assert "Connection closed" not in done.stderr and not [*tmp_path.glob("*.json")]


@pytest.mark.slow(15)
def test_two_processes_log_the_scores_of_one(blocks_folder, tmp_path):
    """An odd number of episodes gives the processes unequal shares, so that they end one after the other."""
    found = []
    for processes in (1, 2):
        done = script(tmp_path, blocks_folder, processes, 7)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        files = sorted(tmp_path.glob(f"{processes}-*.json"))
        assert len(files) == processes
        found += [json.loads(file.read_text()) for file in files]
    assert found[0] == found[1] == found[2] and found[0]["test/mIoU"] > 0


@pytest.mark.slow(1)
def test_predictions_are_what_a_run_keeps(blocks_folder, tmp_path):
    from fsbench.records.predictions import read_predictions

    record = bench("prototype", blocks_folder, tmp_path)
    stored = read_predictions(record)
    batches = trainer().predict(prototype(), datamodule=blocks(blocks_folder))
    answers = [answer for batch in batches for answer in batch]
    assert sorted(answer["episode"] for answer in answers) == list(range(8))
    for answer in answers:
        assert np.array_equal(answer["label_map"], stored.label_map(answer["episode"]))


@pytest.mark.slow(2)
def test_a_training_by_hand_is_validated_and_its_checkpoint_is_taken_by_a_run(blocks_folder, tmp_path):
    torch.manual_seed(0)
    method, data = EMAT(BackboneConfig("demo", "random:0"), support_side=4), blocks(blocks_folder)
    best = ModelCheckpoint(tmp_path, "best", monitor="val/mIoU", mode="max", save_weights_only=False)
    fitting = trainer(max_epochs=1, limit_train_batches=2, enable_checkpointing=True, callbacks=[best])
    fitting.fit(method, datamodule=data)
    assert float(fitting.callback_metrics["val/mIoU"]) == float(best.best_model_score) >= 0
    assert {"val/FB-IoU", "val/accuracy"} <= fitting.callback_metrics.keys()
    (again,) = trainer().validate(method, datamodule=data, verbose=False)
    assert again["val/mIoU"] == float(fitting.callback_metrics["val/mIoU"])
    (tested,) = trainer().test(method, datamodule=data, verbose=False)
    record = bench("emat", blocks_folder, tmp_path, "--model.support_side=4", checkpoint=str(tmp_path / "best.ckpt"))
    assert record.scores == {name.removeprefix("test/"): value for name, value in tested.items()}
    assert record.run.weights.origin == "another run"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "without knowing its test; expected a data module"),
        (
            lambda folder: EpisodicDataModule(Folder(str(folder)), EpisodicTest(episodes=2), image_size=33),
            "33",
        ),
    ],
    ids=["no data module", "a size that the backbone does not take"],
)
def test_what_does_not_fit_is_said_in_a_line(blocks_folder, make, message):
    data = make(blocks_folder)
    given = {"datamodule": data} if data else {"dataloaders": blocks(blocks_folder).test_dataloader()}
    with pytest.raises(SettingsError, match=message) as refused:
        trainer().test(prototype(), verbose=False, **given)
    assert len(str(refused.value).splitlines()) == 1


def test_the_defaults_make_a_test(small_demo):
    data = EpisodicDataModule(Folder(str(small_demo)), image_size=128)
    assert data.manifest.header.protocol == "fscs" and len(data.manifest.episodes) == 1000
