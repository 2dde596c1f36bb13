"""What each stage of Lightning's Trainer does for a method of the suite, in a run and by hand."""

import random
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import distributed

from fsbench.base.environment import check_environment
from fsbench.base.errors import NumericsError, SettingsError
from fsbench.core.episodic_scores import EpisodicScores
from fsbench.core.global_state import apart_from_program, with_tf32
from fsbench.core.method import Method, loaders_alone
from fsbench.core.released_format import TRAINED_ON
from fsbench.datamodules.loading.loader import Loader
from fsbench.datamodules.loading.withheld import Withheld, withhold
from fsbench.protocols.loop import count_answers
from fsbench.protocols.test import Test
from fsbench.records.counts import official_rows, to_frame

SCORES = ("val/mIoU", "val/FB-IoU", "val/accuracy")
"""Scores of a validation, each in percent."""

if TYPE_CHECKING:
    from fsbench.datamodules.datamodule import DataModule


class Stages(L.Callback):
    """Callback by which Lightning's Trainer fits, validates, tests and predicts as a run of the suite does.

    It checks method and data together, seeds each step, sums micro-batches, refuses a loss that is not finite, prepares
    the method for its episodes, counts its answers and logs the scores of all ranks. A run puts it in its Trainer, and
    a data module in everybody's.

    Args:
        data: the data module of the Trainer, whose next one takes its place.
        tf32: whether CUDA may use TF32 for matrix products, and for convolutions.
        sums_alone: whether nothing else may sum the gradients of batches, as a run's record says that nothing does.
        stays: whether the Trainer keeps the callback after a stage, and so for other data modules and modules.
    """

    def __init__(
        self,
        data: "DataModule",
        tf32: tuple[bool, bool] = (False, False),
        sums_alone: bool = False,
        stays: bool = True,
    ):
        self.data, self.tf32, self.sums_alone, self.stays = data, tf32, sums_alone, stays
        self.rows: list[dict[str, Any]] = []
        self._parts = 0
        self._loss: Any = None
        self._around = ExitStack()
        self._begun = ExitStack()
        self._restoring = ExitStack()

    @cached_property
    def withheld(self) -> Withheld:
        """Functions that keep the truth of this Trainer's evaluations from the method."""
        return withhold()

    # All stages -------------------------------------------------------------------------------------------------------

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        check_environment()
        if not isinstance(pl_module, Method):
            raise SettingsError(f"Stages is for methods of fsbench; leave it out with {type(pl_module).__name__}")
        self.data = getattr(trainer, "datamodule", None) or self.data
        if stage != "fit" and trainer.barebones:
            raise SettingsError("Trainer(barebones=True) logs nothing, so there is no score; leave barebones out")
        pl_module.check_run(self.data, stage == "fit", str(trainer.precision))
        self.data.needs = pl_module.needs
        _check_processes(self.data, stage, trainer)
        self._loss, self._parts = None, 0
        if stage == "fit":
            self._check_fit(trainer, pl_module)
        self._around.enter_context(apart_from_program())
        self._around.enter_context(with_tf32(*self.tf32))

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._restoring.close()
        self._begun.close()
        self._around.close()
        self.withheld.end()
        if not self.stays:
            trainer.callbacks = [one for one in trainer.callbacks if one is not self]

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "")

    def _begin(self, method: Method, loader: Any) -> None:
        """Prepare a method for episodes, as a run does."""
        _check_loader(loader)
        method.begin_test(self.data)
        self._begun.callback(method.end_test)

    def _prepare(self, method: Method, loader: Any) -> None:
        """Calibrate a method that asks for it, and prepare it for its episodes."""
        if method.needs.adaptation is not None:
            raise SettingsError(
                f"{method.registry_name} {method.needs.before_test}, which a Trainer by hand does not do; test it by "
                "its name (fsbench bench), or take settings that do not"
            )
        if method.needs.calibration:
            method.calibrate(episode.to(method.device) for episode in self.data.calibration_episodes())
        self._begin(method, loader)

    def _counted(self, test: Test, method: Method, outputs: Any, batch: Any) -> list[Any]:
        """Count the answers to a batch, and return the results."""
        answers = outputs.get("answers") if isinstance(outputs, dict) else None
        truths = self.withheld.take(test, test.numbers(batch), method.registry_name)
        return count_answers(test, answers, truths, method.registry_name)

    # Training ---------------------------------------------------------------------------------------------------------

    def _check_fit(self, trainer: L.Trainer, method: Method) -> None:
        """Check a training, and let Lightning sum the micro-batches of a step."""
        if repeated := getattr(trainer, "overfit_batches", 0):
            raise SettingsError(
                f"Trainer(overfit_batches={repeated}) repeats batches, and an epoch here draws its own; "
                "leave it out, and train on few with limit_train_batches"
            )
        parts, summed = self.data.step_division(trainer.world_size).accumulation, trainer.accumulate_grad_batches
        if parts > 1 and method.automatic_optimization:
            if summed not in (1, parts):
                raise SettingsError(
                    f"Trainer(accumulate_grad_batches={summed}) sums other micro-batches than the {parts} of a step "
                    "(batch_size, micro_batch); leave it out"
                )
            limit = trainer.limit_train_batches
            if (limit % parts if isinstance(limit, int) else limit != 1.0) and not getattr(trainer, "fast_dev_run", 0):
                raise SettingsError(
                    f"Trainer(limit_train_batches={limit}) ends within a step of {parts} micro-batches; expected a "
                    f"multiple of {parts}"
                )
            self._around.callback(setattr, trainer, "accumulate_grad_batches", summed)
            trainer.accumulate_grad_batches = parts
        if self.sums_alone or parts > 1:
            self._parts = trainer.accumulate_grad_batches
        for network in method.backbone.networks:
            self._around.callback(setattr, network, "builds_apart", True)

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Hide `max_steps` until a training is restored, since with it Lightning counts the last epoch once more."""
        if trainer.ckpt_path is not None:
            loop = trainer.fit_loop.epoch_loop
            self._restoring.callback(setattr, loop, "max_steps", loop.max_steps)
            loop.max_steps = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Note what the weights learn from; raise SettingsError if a validation that never comes is to choose some."""
        self._restoring.close()
        _check_loader(trainer.train_dataloader)
        learned = {TRAINED_ON: self.data.trained_on}
        pl_module.learned_from = [*(one for one in pl_module.learned_from if one != learned), learned]
        choosing = _choosing(trainer)
        for chooser, name in choosing:
            if getattr(chooser, "mode", "max") == "min":
                rank_zero_warn(
                    f"{type(chooser).__name__}(monitor='{name}') has mode 'min', which takes the worst for the best; "
                    "give mode='max'"
                )
        steps, epochs = trainer.max_steps, trainer.max_epochs
        every = trainer.check_val_every_n_epoch or 1
        parts = trainer.accumulate_grad_batches
        batches, first = int(trainer.num_training_batches), int(trainer.val_check_batch or 0)
        needed = (every - 1) * -(-batches // parts) + -(-first // parts)
        never = (
            "limit_val_batches is 0" if not trainer.limit_val_batches
            else "training.validation is none" if not self.data.validates
            else f"check_val_every_n_epoch is {every}, and max_epochs {epochs}" if -1 < (epochs or -1) < every
            else f"val_check_interval is {first}, and the training has {(epochs or 0) * batches} batches"
            if trainer.check_val_every_n_epoch is None and -1 < (epochs or -1) * batches < first
            else f"max_steps is {steps}, and the first validation comes after {needed}" if -1 < steps < needed
            else ""
        )  # fmt: skip
        if never and choosing:
            raise SettingsError(f"{never}: no validation would choose a checkpoint; expected one")

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed generators from (seed, epoch, step, rank), so that a resumed training draws what it would have drawn.

        torch's CPU generator uses 32 bits of a seed: among 100,000 steps about one pair draws the same numbers.
        """
        if self._parts and trainer.accumulate_grad_batches != self._parts:
            raise SettingsError(
                f"a callback has set accumulate_grad_batches to {trainer.accumulate_grad_batches}, and a step has "
                f"{self._parts} micro-batches; leave the callback out, and give data.training.batch_size"
            )
        torch.clear_autocast_cache()  # copies of weights before the last step, if an autocast is around the training
        is_first = trainer.ckpt_path is None and trainer.current_epoch == batch_idx == 0
        for network in pl_module.backbone.networks:
            network.builds_apart = not is_first
            if is_first:  # an earlier validation may have built it
                network.build_anew()
                network.cache.clear()
        words = [self.data.seed, trainer.current_epoch, batch_idx, trainer.global_rank]
        seeds = np.random.SeedSequence(words)
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
        np.random.seed(seeds.generate_state(1)[0])
        random.seed(int(seeds.generate_state(1)[0]))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *batch: Any) -> None:
        for network in pl_module.backbone.networks:
            network.builds_apart = True
        self._loss = outputs.get("loss") if isinstance(outputs, dict) else outputs  # a skipped step has none

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Raise NumericsError if the last loss is NaN or infinite; half precision skips such a step in between."""
        if isinstance(self._loss, torch.Tensor) and not bool(self._loss.isfinite().all()):
            raise NumericsError(
                f"{pl_module.registry_name}: the training loss is {float(self._loss)} in epoch "
                f"{trainer.current_epoch + 1}, expected a finite number; lower the learning rate, or train with "
                "--trainer.precision 32-true"
            )

    # Validation -------------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._prepare(pl_module, trainer.val_dataloaders)
        else:
            self.on_train_epoch_end(trainer, pl_module)
            self._begin(pl_module, trainer.val_dataloaders)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        manifest, counting = self.data.validation_manifest, self.data.validated.protocol.counting
        scores = EpisodicScores(manifest.class_ids, counting.void, len(manifest.episodes))
        self.scores = scores.to(pl_module.device)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *more: Any) -> None:
        for result in self._counted(self.data.validated, pl_module, outputs, batch):
            self.scores.update(result)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        scores = self.scores.compute()  # sums over all ranks first
        _tell_limits(self.scores.counted, len(self.data.validation_manifest.episodes), "validated")
        log_scores(pl_module, "val", scores)
        _wait_for_all()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._begun.close()

    on_test_end = on_predict_end = on_validation_end

    # Test -------------------------------------------------------------------------------------------------------------

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.rows = []
        self._prepare(pl_module, trainer.test_dataloaders)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *more: Any) -> None:
        for result in self._counted(self.data.tested, pl_module, outputs, batch):
            self.rows += result.rows()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        data, rows = self.data, self.rows
        if distributed.is_available() and distributed.is_initialized():
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, rows)
            _wait_for_all()
            rows = [row for of_rank in gathered for row in of_rank]
        tested, every = {row["episode"] for row in rows}, data.manifest.episodes
        manifest = replace(data.manifest, episodes=tuple(episode for episode in every if episode.number in tested))
        _tell_limits(len(manifest.episodes), len(every), "tested")
        frame = official_rows(to_frame(rows, manifest))
        header = data.manifest.header
        if len(manifest.episodes) < len(every):  # a class that no episode has asked about does not count as 0
            asked = frozenset(frame["class_id"].to_list())
            header = header.model_copy(update={"class_ids": [one for one in header.class_ids if one in asked]})
        log_scores(pl_module, "test", data.protocol.statistics(frame, header).scores())

    # Prediction -------------------------------------------------------------------------------------------------------

    def on_predict_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._prepare(pl_module, trainer.predict_dataloaders)


def log_scores(method: Method, stage: str, scores: dict[str, float]) -> None:
    """Log scores {name: value}, which are equal on all ranks, as `<stage>/<name>`."""
    kind = torch.float32 if method.device.type == "mps" else torch.float64
    for name, value in scores.items():
        whole = torch.tensor(value, dtype=kind, device=method.device)
        method.log(f"{stage}/{name}", whole, prog_bar=name == "mIoU", sync_dist=False)


def _check_loader(loader: Any) -> None:
    if isinstance(loader, Loader):  # given beside the data module of the Trainer's last call
        raise loaders_alone()


def _choosing(trainer: L.Trainer) -> list[tuple[Any, str]]:
    """Return callbacks and schedules that choose by a score of the validation, best at its highest, and its name."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    choosing = [(one, getattr(one, "monitor", None)) for one in callbacks]
    choosing += [(one.scheduler, one.monitor) for one in trainer.lr_scheduler_configs]
    return [(one, name) for one, name in choosing if name in SCORES]


def _tell_limits(counted: int, there: int, done: str) -> None:
    if counted < there:
        rank_zero_warn(
            f"{counted} of {there} episodes were {done}, as this Trainer limits its batches; the scores are of them "
            "alone"
        )


def _check_processes(data: "DataModule", stage: str, trainer: L.Trainer) -> None:
    """Raise SettingsError where a process would have no episode, whose evaluation Lightning skips without a word."""
    processes = trainer.world_size
    validates = stage in ("fit", "validate") and data.validates and bool(trainer.limit_val_batches)
    manifest = data.validation_manifest if validates else data.manifest if stage == "test" else None
    if manifest is not None and len(manifest.episodes) < processes:
        raise SettingsError(
            f"the {'validation' if validates else 'test'} has {len(manifest.episodes)} episodes, fewer than the "
            f"{processes} processes of this Trainer; give it devices={len(manifest.episodes)} or fewer"
        )


def _wait_for_all() -> None:
    """Wait until every process has what was gathered: one that ends before closes the connections of the others."""
    if distributed.is_available() and distributed.is_initialized():
        with suppress(RuntimeError):  # of a process that had waited, and has ended
            distributed.barrier()
