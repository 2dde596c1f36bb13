"""When a training validates, which weights it keeps, and when and why it ends early - by real trainings."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from fsbench.base.errors import SettingsError
from fsbench.runner.config.parse import RunOptions
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.check import check_machine
from fsbench.runner.engine.origins import training_facts
from fsbench.runner.engine.trainer import build_trainer
from fsbench.runner.engine.validation_plan import CHOSEN_BY, ValidationPlan, validation_schedule
from fsbench.runner.engine.validation_schedule import ValidationSchedule
from tests.fsbench.runner.engine.test_training_steps import experiment
from tests.goldens.kinds.training_schedule import hmnet_schedule


class Module(L.LightningModule):
    """Its validation scores are given."""

    def __init__(self, scores):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.scores = iter(scores)
        self.validated, self.begun = [], 0

    def on_train_epoch_start(self):
        self.begun += 1

    def training_step(self, batch, batch_idx):
        self.step = batch_idx + 1
        return self.layer(batch).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def on_validation_epoch_end(self):
        self.validated.append((self.current_epoch, self.step))
        self.log("val/mIoU", next(self.scores))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module, plan, epochs, batches, accumulation=1):
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=[plan], accumulate_grad_batches=accumulation, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, torch.ones(batches, 1, 1), torch.ones(1, 1, 1))
    return trainer


def test_a_training_validates_by_its_schedule_in_steps():
    """Five steps of two micro-batches: the middle is after step round(5 / 2) + 1 = 3, so micro-batch 6."""
    module = Module([0.1] * 9)
    fit(module, ValidationPlan(ValidationSchedule(1, 2), None, 2), 4, 10, accumulation=2)
    assert module.validated == [(1, 10), (2, 6), (2, 10), (3, 6), (3, 10)]


def test_a_training_that_does_not_improve_ends_and_says_so(caplog):
    """Epochs without a validation count; an equal score is no improvement."""
    module = Module([0.2, 0.5, 0.5, 0.4, 0.3, 0.3])
    plan = ValidationPlan(ValidationSchedule(1), 3, 1)
    with caplog.at_level("INFO", "fsbench"):
        trainer = fit(module, plan, 20, 2)
    assert [epoch for epoch, _ in module.validated] == [1, 2, 3, 4, 5] and module.begun == 6
    assert plan.end(trainer) == "val/mIoU did not exceed 0.5 in 3 epochs (run.patience)"
    assert f"training ends after 6 epochs: {plan.end(trainer)}" in caplog.text
    calm = ValidationPlan(ValidationSchedule(), None, 1)
    assert calm.end(fit(Module([0.5, 0.5, 0.5]), calm, 3, 2)) is None


def test_a_training_whose_patience_ends_with_its_last_epoch_is_complete(caplog):
    module, plan = Module([0.5, 0.4, 0.4, 0.4]), ValidationPlan(ValidationSchedule(), 3, 1)
    with caplog.at_level("INFO", "fsbench"):
        trainer = fit(module, plan, 4, 2)
    assert plan.score.is_over and trainer.current_epoch == module.begun == 4
    assert plan.end(trainer) is None and "training ends" not in caplog.text


def test_hmnets_files_have_the_authors_rule():
    for method, dataset, epochs, patience in (
        ("hmnet", "pascal", 300, 100), ("hmnet", "coco", 75, 75), ("hmnet_5shot", "coco", 75, 75)
    ):  # fmt: skip
        config = RunConfig(method, dataset).parse(build=False).config
        assert validation_schedule(config.run) == hmnet_schedule(epochs) and config.run.patience == patience
        assert config.trainer.max_epochs == epochs
        assert config.trainer.precision == ("16-mixed" if dataset == "coco" else "32-true")
    fast = RunConfig("hmnet", "pascal", fast=True).parse(build=False).config
    assert validation_schedule(fast.run) == ValidationSchedule() and fast.run.patience is None


class Killed(Exception):
    pass


class Kill(Callback):
    """Ends a training as if it were killed, after two epochs."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2:
            raise Killed


@pytest.mark.slow
def test_a_training_goes_on_after_epochs_without_a_validation(blocks_folder, tmp_path):
    """Its last checkpoint is that of an epoch's end: weights, best score and waiting are those of a whole training."""
    options = ("--run.first_validation=2", "--run.middle_validation=3", "--trainer.max_epochs=5", "--run.patience=4")
    found = []
    for name in ("whole", "parts"):
        (folder := tmp_path / name).mkdir()
        for attempt in range(2 if name == "parts" else 1):
            run = experiment(blocks_folder, folder, *options, micro_batch=3)
            trainer, best = build_trainer(run, folder)
            last = folder / "checkpoints" / "last.ckpt"
            if name == "parts" and attempt == 0:
                trainer.callbacks.insert(0, Kill())
                with pytest.raises(Killed):
                    trainer.fit(run.method, datamodule=run.data)
                assert last.is_file() and not (folder / "checkpoints" / "best.ckpt").exists()
                continue
            trainer.fit(run.method, datamodule=run.data, ckpt_path=last if attempt else None, weights_only=True)
        plan = next(c for c in trainer.callbacks if isinstance(c, ValidationPlan))
        chosen = torch.load(best.best_model_path, weights_only=True)["state_dict"]
        found.append((run.method.state_dict(), chosen, plan.state_dict(), float(best.best_model_score)))
    for one, other in zip(*(x[:2] for x in found), strict=True):
        assert all(torch.equal(one[name], weight) for name, weight in other.items())
    assert found[0][2:] == found[1][2:]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--run.first_validation=3",), "max_epochs is 3, and the first epoch with a validation is number 3 (counted"),
        (("--run.patience=0",), "run.patience is 0, expected 1 or more"),
        (("--run.first_validation=1", "--trainer.val_check_interval=2"), "val_check_interval is 2, but the run's opt"),
        (
            ("--run.first_validation=1", "--trainer.check_val_every_n_epoch=2"),
            "check_val_every_n_epoch is 2, but the run's options say when it validates",
        ),
    ],
)
def test_plans_that_cannot_be_are_refused(blocks_folder, tmp_path, more, words):
    with pytest.raises(SettingsError) as error:
        experiment(blocks_folder, tmp_path, *more)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_experiments_are_built_with_the_plan_and_its_identity_has_only_what_is_not_usual(blocks_folder, tmp_path):
    usual = experiment(blocks_folder, tmp_path).identity.training
    run: Experiment = experiment(blocks_folder, tmp_path, "--run.first_validation=1", "--run.patience=2")
    assert run.identity.training == usual | {"first_validation": 1, "patience": 2}
    assert RunOptions().patience is None  # no early end unless it is asked for
    trainer, best = build_trainer(run, tmp_path)
    plan = next(c for c in trainer.callbacks if isinstance(c, ValidationPlan))
    assert plan.schedule == ValidationSchedule(1) and plan.score.patience == 2 and best.monitor == CHOSEN_BY


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"precision": "16-mixed"}, "16-mixed, which a CPU does not have; expected a GPU, or --trainer"),
        ({"accelerator": "abacus"}, "trainer.accelerator is 'abacus'; there are: auto, gpu"),
        ({"accelerator": "tpu"}, "trainer.accelerator is tpu, which this machine does not have; take auto"),
        ({"strategy": "wishful"}, "trainer.strategy is 'wishful'; there are: auto, ddp"),
    ],
)
def test_settings_that_this_machine_does_not_have_are_refused(setting, words):
    settings = {"accelerator": "cpu", "strategy": "auto", "devices": 1, "num_nodes": 1, "precision": "bf16-mixed"}
    check_machine(settings)
    with pytest.raises(SettingsError, match=words):
        check_machine(settings | setting)


@pytest.fixture
def other_tf32():
    """Both switches are turned, and put back afterwards."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [one.allow_tf32 for one in backends]
    for one, value in zip(backends, before, strict=True):
        one.allow_tf32 = not value
    yield
    for one, value in zip(backends, before, strict=True):
        one.allow_tf32 = value


@pytest.mark.parametrize(
    ("given", "products", "convolutions"),
    [("false", False, False), ("true", True, True), ("convolutions", False, True), ("matmul", True, False)],
)
def test_tf32_of_convolutions_and_of_products_are_apart(
    blocks_folder, tmp_path, other_tf32, given, products, convolutions
):
    run = experiment(blocks_folder, tmp_path, f"--run.tf32={given}")
    build_trainer(run, tmp_path)
    assert torch.backends.cuda.matmul.allow_tf32 is products
    assert torch.backends.cudnn.allow_tf32 is convolutions
    assert run.identity.tf32 == {"false": False, "true": True}.get(given, given)
    assert training_facts(run)["tf32"] == run.identity.tf32
