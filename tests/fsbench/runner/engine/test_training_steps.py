"""The same weights after every optimiser step, however its episodes are divided; and settings that contradict it."""

import shutil
from dataclasses import replace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from fsbench.base.errors import SettingsError
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.micro_batches import out_of_memory, step_division_facts
from fsbench.runner.engine.trainer import build_trainer
from tests.fsbench.runner.engine.runs import folder_run
from tests.new_process import in_new_process


class Weights(Callback):
    """Writes the weights after every optimiser step."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        if trainer.is_global_zero:
            torch.save(method.state_dict(), self.folder / f"{trainer.global_step}.pt")


SGD = ("--optimizer.class_path=torch.optim.SGD", "--optimizer.init_args.lr=0.05")


def experiment(blocks_folder, folder, *more, method="emat", words=(), **request):
    """Build a run whose settings `more` stand in a file; `words` go beyond what `request` sets."""
    extra = [
        "--data.image_size=32", "--trainer.max_epochs=3", "--data.training.validation_episodes=2",
        "--data.test.episodes=1", "--data.training.batch_size=12", *more,
    ]  # fmt: skip
    run = folder_run(method, blocks_folder, folder, *extra, **request)
    return Experiment(replace(run, extra=(*run.extra, *words)).parse())


def weights_after_steps(blocks_folder, folder, *more, **request):
    """Return the weights after each of the first five steps of a training, one of which is an epoch's last."""
    run = experiment(blocks_folder, folder, *SGD, "--trainer.max_steps=5", *more, **request)
    trainer, _ = build_trainer(run, folder)
    trainer.callbacks.append(Weights(folder))
    trainer.fit(run.method, datamodule=run.data)
    shutil.rmtree(folder / "checkpoints")
    return [torch.load(folder / f"{step}.pt", weights_only=True) for step in range(1, 6)]


def assert_equal_steps(found, expected):
    for step, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        for name, weight in other.items():
            assert (one[name] - weight).abs().max() <= 2e-5 * weight.abs().max().clamp(min=0.05), (step, name)


@pytest.mark.slow
def test_weights_after_five_steps_do_not_depend_on_the_division(blocks_folder, tmp_path):
    """One process at once, one process with micro-batches, and two real processes without and with them.

    An epoch has complete steps and an incomplete one, of an odd number of episodes.
    """
    in_new_process(check_divisions, blocks_folder, tmp_path)


def check_divisions(blocks_folder, tmp_path):
    (alone := tmp_path / "alone").mkdir()
    expected = weights_after_steps(blocks_folder, alone)
    start = experiment(blocks_folder, alone).method.state_dict()
    assert any((expected[-1][name] - weight).abs().max() > 1e-3 for name, weight in start.items())
    divisions = {"micro": {"micro_batch": 4}, "two": {"devices": 2}, "both": {"devices": 2, "micro_batch": 3}}
    for name, division in divisions.items():
        (folder := tmp_path / name).mkdir()
        fork = ["--trainer.strategy=ddp_fork"] if "devices" in division else []
        assert_equal_steps(weights_after_steps(blocks_folder, folder, words=fork, **division), expected)


@pytest.mark.slow(3)
def test_micro_batches_give_the_weights_of_the_whole_step(blocks_folder, tmp_path):
    """In one process; limits count optimiser steps and not micro-batches."""
    for name, more in (("whole", {}), ("parts", {"micro_batch": 2})):
        (tmp_path / name).mkdir()
        run = experiment(
            blocks_folder, tmp_path / name, "--trainer.limit_train_batches=2", "--trainer.max_epochs=1",
            *SGD, **more,
        )  # fmt: skip
        trainer, _ = build_trainer(run, tmp_path / name)
        trainer.fit(run.method, datamodule=run.data)
        assert trainer.global_step == 2
        torch.save(run.method.state_dict(), tmp_path / f"{name}.pt")
    assert_equal_steps(*([torch.load(tmp_path / f"{name}.pt", weights_only=True)] for name in ("parts", "whole")))


@pytest.mark.slow(2)
def test_the_identity_has_the_effective_batch_and_a_division_only_where_it_matters(blocks_folder, tmp_path):
    """A loss that is a mean of episodes gives the same run on one device and two; dropout gives another."""
    divisions = [{}, {"devices": 2}, {"micro_batch": 3}]
    emat, hmnet, dcama, dry = (
        [experiment(blocks_folder, tmp_path, *more, method=method, **division) for division in divisions]
        for method, more in (
            ("emat", ()), ("hmnet", ()), ("dcama", ("--model.dropout=0.5",)), ("dcama", ("--model.dropout=0",)),
        )
    )  # fmt: skip
    for same in (emat, dry):
        assert len({run.folder for run in same}) == 1
        assert same[0].identity.training["batch_size"] == 12 and "division" not in same[0].identity.training
    for others in (hmnet, dcama):
        assert len({run.folder for run in others}) == 3
        assert {run.identity.training["batch_size"] for run in others} == {12}
        assert others[1].identity.training["division"] == {"processes": 2, "micro_batch": 6}


@pytest.mark.parametrize(
    ("more", "request_of", "words"),
    [
        ((), {"micro_batch": 5}, "micro_batch is 5 episodes at once, which does not divide the 12 of a process"),
        (("--data.training.micro_batch=0",), {}, "micro_batch is 0, expected 1 or more"),
        (("--trainer.accumulate_grad_batches=2",), {}, "give MICRO_BATCH"),
        (("--trainer.limit_train_batches=0.5",), {"micro_batch": 3}, "may end within a step of 4 micro-batches"),
        (("--trainer.overfit_batches=2",), {"micro_batch": 3}, "trainer.overfit_batches is 2"),
    ],
)
def test_settings_that_contradict_the_division_are_refused(blocks_folder, tmp_path, more, request_of, words):
    with pytest.raises(SettingsError) as error:
        experiment(blocks_folder, tmp_path, *more, **request_of)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_an_evaluation_needs_no_division(blocks_folder, tmp_path):
    """A checkpoint is evaluated with any number of processes, whatever its training's batch."""
    run = experiment(blocks_folder, tmp_path, devices=1)
    path = tmp_path / "weights.ckpt"
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(run.method)
    trainer.save_checkpoint(path, weights_only=True)
    evaluation = experiment(blocks_folder, tmp_path, devices=5, checkpoint=str(path))
    assert evaluation.division is None


def test_a_trial_is_the_same_training_on_any_number_of_devices():
    """A number that does not divide its batch is refused, as it is of any run."""
    for devices in (None, 1, 2, 8):
        parsed = RunConfig("emat", "pascal", fast=True, devices=devices).parse(build=False)
        assert parsed.data_arguments["training"]["batch_size"] == 2


def test_a_training_that_does_not_fit_names_the_smaller_micro_batch():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
    words = out_of_memory(StepDivision(27, 3), error)
    assert words == (
        "CUDA out of memory. Tried to allocate 2.00 GiB. A process takes 9 episodes at once: give --micro-batch 3 "
        "or less; the batch stays 27"
    )
    assert "one episode does not fit" in out_of_memory(StepDivision(3, 3), error)


class Normalised(torch.nn.Module):
    """As much of a method as has batch normalisation."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(2)


@pytest.mark.parametrize(("synchronised", "items"), [(True, 6), (False, 3)])
def test_the_record_says_what_batch_statistics_are_of(synchronised, items):
    method, division = Normalised(), StepDivision(12, 2, 3)
    facts = step_division_facts(division, method, synchronised)
    assert facts == {"batch_size": 12, "processes": 2, "micro_batch": 3, "normalised_over": items}
    method.requires_grad_(False)
    assert "normalised_over" not in step_division_facts(division, method, synchronised)
