"""A method and its hooks see an evaluation without its truth."""

import sys
from multiprocessing import active_children

import lightning as L
import pytest
import torch

from fsbench.base.errors import NumericsError, SettingsError, TruthError
from fsbench.data.batch import Truth
from fsbench.data.truth import EpisodeTruth
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment
from fsbench.scores.answers import SegmentationResult
from tests.fsbench.runner.engine.runs import folder_run

METHOD = '''"""A method that learns a bias, and whose hooks look around."""

import torch
import torch.nn.functional as F

from fsbench.networks.backbones.base import BackboneConfig
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter

SEEN = []
"""(hook, what it was given) of all hooks; see the test."""


class Mine(Segmenter):
    predicts_presence = True

    def __init__(self, backbone: BackboneConfig, fault: str = ""):
        super().__init__(backbone)
        self.fault = fault
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, episode):
        SEEN.append(("forward", episode))
        ways, size = episode.support.shape[1], tuple(episode.query_sizes[0].tolist())
        label_map = torch.zeros(size, dtype=torch.long)
        if self.fault == "label" and int(episode.episodes[0]) == 1:
            label_map[0, 0] = ways + 1
        score = torch.full((ways,), 0.5)
        if self.fault in ("nan", "inf"):
            score[0] = float(self.fault) if int(episode.episodes[0]) == 1 else 0.5
        logits = torch.zeros(ways, 2, *size)
        if self.fault == "logit" and int(episode.episodes[0]) == 1:
            logits[0, 1, 2, 3] = float("nan")
        return Prediction(label_map, score > 0.4, score, logits)

    def batch_loss(self, batch):
        assert batch.known_truth().label_maps  # a training step has it
        loss = (self.bias**2).sum() + self.bias.sum()
        return {"loss": loss * float("nan") if self.fault == "loss" else loss}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_before_batch_transfer(self, batch, dataloader_idx):
        self.look("on_before_batch_transfer", batch)
        return batch

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        self.look("transfer_batch_to_device", batch)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        self.look("on_after_batch_transfer", batch)
        return batch

    def on_validation_batch_start(self, batch, batch_idx, dataloader_idx=0):
        self.look("on_batch_start", batch)
        if self.fault == "hook":
            self.seen = batch.truth.label_maps

    def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
        self.look("on_batch_end", (outputs, batch))

    on_test_batch_start = on_predict_batch_start = on_validation_batch_start
    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def answer_batch(self, batch):
        SEEN.append(("answer_batch", batch))
        if self.fault == "few":
            return []
        return super().answer_batch(batch)

    def look(self, hook, given):
        trainer = self.trainer
        if trainer.training:
            return
        SEEN.append((hook, given))
        if hook == "on_batch_start":
            stage = "predict" if trainer.predicting else "test" if trainer.testing else "val"
            own = getattr(trainer.datamodule, f"{stage}_dataloader")()
            SEEN.append((hook, [next(iter(own)), getattr(trainer, f"{stage}_dataloaders"), trainer.callbacks]))
'''


def experiment(blocks_folder, tmp_path, fault="", workers=0):
    (tmp_path / "mine.py").write_text(METHOD)
    extra = [
        "--data.image_size=32", f"--data.loading.workers={workers}", "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=1", "--data.training.validation_episodes=2", "--data.test.episodes=3",
        f"--model.fault='{fault}'",
    ]  # fmt: skip
    name, runs = f"{tmp_path / 'mine.py'}:Mine", tmp_path / "runs"
    return Experiment(folder_run(name, blocks_folder, runs, *extra, backbone="demo", weights="random:0").parse())


def by_hand(*callbacks):
    return L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[*callbacks]
    )  # fmt: skip


def parts(value, depth=5):
    """Yield `value` and everything that attributes, items and elements lead to from it."""
    yield value
    if depth == 0 or isinstance(value, (str, bytes, int, float, torch.Tensor, type)):
        return
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        inner = list(value)
    else:
        inner = list(getattr(value, "__dict__", {}).values())
    for one in inner:
        yield from parts(one, depth - 1)


@pytest.mark.parametrize("stage", ["run", "validate", "test", "predict"])
def test_no_hook_of_a_method_is_given_the_truth(blocks_folder, tmp_path, stage):
    """In a run, whose training validates, and in each stage of a Trainer by hand."""
    mine = experiment(blocks_folder, tmp_path)
    seen = vars(sys.modules[type(mine.method).__module__])["SEEN"]
    if stage == "run":
        frame = run_experiment(mine).episodes
        counts = frame.filter(frame["slot"] > 0)
        assert counts["gt"].sum() > 0 == counts["tp"].sum()  # the engine knows it: everything was background
    else:
        getattr(by_hand(), stage)(mine.method, datamodule=mine.data)
    assert {hook for hook, _ in seen} == {
        "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "on_batch_start",
        "on_batch_end", "answer_batch", "forward",
    }  # fmt: skip
    for hook, given in seen:
        found = [one for one in parts(given) if isinstance(one, (Truth, EpisodeTruth, SegmentationResult))]
        assert not found, (hook, found[0])
    truth = mine.data.test_batches().dataset[0].known_truth()
    assert [one for one in parts([truth]) if isinstance(one, Truth)]  # what would be found


def test_a_hook_that_asks_for_the_truth_ends_the_run_in_one_line(blocks_folder, tmp_path):
    with pytest.raises(TruthError, match="a method asked for the truth of an episode that it predicts"):
        run_experiment(experiment(blocks_folder, tmp_path, "hook"))


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("nan", NumericsError, "mine: episode 1: the presence score of way 1 is nan, expected a finite number"),
        ("inf", NumericsError, "mine: episode 1: the presence score of way 1 is inf, expected a finite number"),
        ("logit", NumericsError, "mine: episode 1: the logit of way 1 is nan, expected a finite number"),
        ("label", SettingsError, "mine: episode 1: the method gave a mask with labels from 0 to 2, expected 0 for"),
        ("few", SettingsError, "mine gave 0 answers for 1 episodes, expected a list of one answer each"),
        ("loss", NumericsError, "mine: the training loss is nan in epoch 1, expected a finite number"),
    ],
)
def test_an_answer_that_cannot_be_counted_is_refused_with_its_place(blocks_folder, tmp_path, fault, error, message):
    with pytest.raises(error) as refused:
        run_experiment(experiment(blocks_folder, tmp_path, fault))
    words = str(refused.value)
    assert words.startswith(message) and "\n" not in words, words
    assert not list((tmp_path / "runs").glob("*/run.json"))


@pytest.mark.slow(2)
def test_no_process_of_a_loader_outlives_its_stage(blocks_folder, tmp_path):
    mine = experiment(blocks_folder, tmp_path, workers=1)
    before, during = set(active_children()), []

    class Look(L.Callback):
        def on_validation_batch_start(self, *given):
            during.append(len(set(active_children()) - before))

        on_test_batch_start = on_predict_batch_start = on_validation_batch_start

    for stage in ("validate", "test", "predict"):
        getattr(by_hand(Look()), stage)(mine.method, datamodule=mine.data)
        assert during[0] == 1 and set(active_children()) == before, stage
        during.clear()
