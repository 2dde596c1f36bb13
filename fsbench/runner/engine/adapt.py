"""Adapt the method of an experiment to labelled images of the test's own pool, before its test.

One process does it, so that the outcome depends on no number of processes; the others take the weights that it writes.
An adaptation that was stopped goes on from its last epoch, with the same weights as one that was not.
"""

import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import distributed

from fsbench.base.errors import NumericsError, RunError
from fsbench.base.files import make_folder, sha256_file
from fsbench.core.adaptation import Adaptation
from fsbench.core.answering import THREADS, answering
from fsbench.core.episodic_scores import EpisodicScores
from fsbench.core.released_format import ADAPTED_TO, WRITTEN_BY
from fsbench.networks.weights.files import read_checkpoint
from fsbench.protocols.loop import evaluate_batches
from fsbench.records.run_directory import RunDirectory
from fsbench.runner.engine.checkpoint import ADAPTED, load_checkpoint, read_outcome, save_checkpoint
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.machine.determinism import unordered_kernels
from fsbench.runner.engine.machine.meter import Meter
from fsbench.runner.engine.machine.process_group import in_each_process

log = logging.getLogger("fsbench")

LONGEST = timedelta(days=365)
"""Time that processes wait for the one that adapts; by themselves they would give up after half an hour."""


def adapt(experiment: Experiment, trainer: L.Trainer, directory: RunDirectory) -> dict[str, Any]:
    """Fine-tune (adapt) a method on images of the test and load the result, unless that was done before.

    Every process must call this.

    Args:
        experiment: the run, with its method already trained.
        trainer: the run's trainer.
        directory: the run's folder, to which checkpoints are written.

    Returns:
        {entry of the run's record: value}: name and hash of the checkpoint, the kept epoch and its validation mIoU,
        seconds, and non-deterministic kernels.

    Raises:
        RecordError: files of an earlier adaptation are damaged or were changed.
        NumericsError: a loss is NaN or infinite.
        RunError: the adaptation failed in another process.
    """
    finished = directory.path / ADAPTED
    in_each_process(trainer, partial(_adapt_once, experiment, trainer, directory))
    facts = read_outcome(finished)
    load_checkpoint(experiment.method, finished.with_name(facts["checkpoint"]))
    return facts


def _adapt_once(experiment: Experiment, trainer: L.Trainer, directory: RunDirectory) -> None:
    """Adapt in process 0 unless that is done, while the others wait. If it fails, it says why and all end."""
    finished = directory.path / ADAPTED
    failure: Exception | None = None
    group = distributed.new_group(timeout=LONGEST, backend="gloo") if trainer.world_size > 1 else None
    if trainer.is_global_zero and not finished.is_file():
        try:
            make_folder(finished.parent)
            directory.write_json(ADAPTED, _adapt(experiment, trainer.strategy.root_device, finished.parent))
            (finished.parent / "adapting.ckpt").unlink(missing_ok=True)
        except Exception as error:
            failure = error
    has_failed = [failure is not None]
    if isinstance(group, distributed.ProcessGroup):
        distributed.broadcast_object_list(has_failed, src=0, group=group)
    if failure is not None:
        raise failure
    if has_failed[0]:
        ended = RunError("the adaptation failed in process 0 of this run, which says why")
        ended.is_told = True
        raise ended


def _adapt(experiment: Experiment, device: torch.device, folder: Path) -> dict[str, Any]:
    """Adapt in this process; each epoch is kept in `folder`, and the chosen one is `adapted.ckpt`."""
    settings = experiment.method.needs.adaptation
    assert settings is not None
    method, images = experiment.method, experiment.data.adaptation_images(settings)
    meter = Meter(device)
    torch.set_num_threads(THREADS)
    method.to(device)
    parts = method.configure_adaptation(images.steps)
    optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    epoch, best, kept = 0, float("-inf"), 0
    state_file, best_file = folder / "adapting.ckpt", folder / "adapted.ckpt"
    if state_file.is_file():
        state = read_checkpoint(state_file)
        method.load_state_dict(state["state_dict"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        epoch, best, kept = state["epoch"], state["best"], state["kept"]
    log.info("adaptation: %d labelled images a class, from epoch %d", images.images_a_class, epoch + 1)
    adapted_to = {
        "dataset": experiment.data.dataset.name,
        "fold": experiment.data.test.fold,
        "labelled_images": images.images_a_class,
    }
    validation = experiment.data.whole_validation() if settings.choice == "validation" else None
    with unordered_kernels() as kernels:
        for number in range(epoch, settings.epochs):
            _learn_epoch(experiment, settings, number, optimizer, schedule)
            score = float(number) if validation is None else _validate(experiment, validation)
            log.info("adaptation: epoch %d of %d, %s %.2f", number + 1, settings.epochs, settings.choice, score)
            if score >= best:  # the last of equal ones, as the authors' program
                best, kept = score, number + 1
                adapted = {"state_dict": method.state_dict(), WRITTEN_BY: method.describe(), ADAPTED_TO: adapted_to}
                save_checkpoint(adapted, best_file)
            state = {"state_dict": method.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"schedule": schedule.state_dict(), "epoch": number + 1, "best": best, "kept": kept}
            save_checkpoint(state, state_file)
    return {
        "checkpoint": best_file.name,
        "checkpoint_sha256": sha256_file(best_file),
        "epoch": kept,
        **({} if validation is None else {"validation_mIoU": best}),
        "steps": images.steps,
        "seconds": meter.seconds,
        "peak_mib": meter.peak_mib,
        "unordered_kernels": sorted(kernels),
    }


def _learn_epoch(experiment: Experiment, settings: Adaptation, epoch: int, optimizer: Any, schedule: Any) -> None:
    """Take the steps of an epoch, in the order of its items."""
    method, data = experiment.method, experiment.data
    method.train()
    try:
        for step, batch in enumerate(data.adaptation_images(settings).batches(epoch)):
            words = [data.seed, 3, epoch, step]
            torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]))
            optimizer.zero_grad()
            loss = method.adaptation_loss(method.on_device(batch))
            if not bool(loss.isfinite()):
                raise NumericsError(
                    f"{method.registry_name}: the loss of the adaptation is {float(loss)} in epoch {epoch + 1}, "
                    "expected a finite number; lower --model.adaptation.learning_rate"
                )
            loss.backward()
            optimizer.step()
            schedule.step()
    finally:
        method.eval()
    method.backbone.cache.clear()  # features of the weights before


def _validate(experiment: Experiment, batches: Iterable[Any]) -> float:
    """Return the mIoU of the validation that `data.training.validation` names, of all its batches."""
    method, data = experiment.method, experiment.data
    scores = EpisodicScores(data.validation_manifest.class_ids, data.validated.protocol.counting.void, over_ranks=False)

    def add(results: list[Any]) -> None:
        for result in results:
            scores.update(result)

    with answering(method) as answerer:
        evaluate_batches(batches, data.validated, answerer, add, method.registry_name)
    method.backbone.cache.clear()
    return scores.compute()["mIoU"]
