"""Run an experiment: train if the method learns, evaluate, write the record.

An unfinished run goes on where it was: training from its last epoch, evaluation from the last finished episode.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fsbench.data.frames import over_image
from fsbench.engine.callbacks import ResultWriter
from fsbench.engine.checkpoint import load_checkpoint
from fsbench.engine.experiment import Experiment
from fsbench.engine.identity import kept_features
from fsbench.engine.loggers import log_record
from fsbench.engine.machine.check import check_machine
from fsbench.engine.machine.cpu_kernels import kernels_of_run
from fsbench.engine.machine.determinism import unordered_kernels
from fsbench.engine.machine.meter import Meter
from fsbench.engine.machine.watchdog import ProcessWatchdog, is_broken_collective
from fsbench.engine.micro_batches import out_of_memory, step_of
from fsbench.engine.plug_in_origins import plug_in_origins
from fsbench.engine.provenance import provenance
from fsbench.engine.trainer import build_trainer
from fsbench.engine.training_facts import weights_of
from fsbench.engine.validation_plan import ValidationPlan
from fsbench.errors import RecordError, RunError, SettingsError
from fsbench.files import fingerprint, read_json, sha256_file
from fsbench.metrics.confusion import COUNTS, way_ious
from fsbench.records.journal import Journal
from fsbench.records.predictions import Keep, label_map_of, write_predictions
from fsbench.records.record import Record, to_frame, write_record
from fsbench.records.run_directory import RunDirectory
from fsbench.records.task import task_of
from fsbench.tables.table import build_blocks
from fsbench.visualization import contact_sheet

log = logging.getLogger("fsbench")


def run(experiment: Experiment) -> Record | None:
    """Complete an experiment. Every rank calls this.

    Returns:
        The record on rank 0, None on the other ranks.

    Raises:
        FsbenchError: the run cannot be done or finished; its log says the same.
    """
    if experiment.is_done:
        return experiment.record()
    check_machine(experiment.trainer_settings)
    with RunDirectory(experiment.folder, _rank(), experiment.options.force) as directory:
        if directory.is_complete:  # another process finished it just now
            return experiment.record()
        try:
            record = _train_and_evaluate(experiment, directory)
        except MisconfigurationException as error:
            raise SettingsError(f"trainer: {error}") from error
        if record is None:
            return None
        directory.publish()
        return Record(experiment.folder, record.run)


def _train_and_evaluate(experiment: Experiment, directory: RunDirectory) -> Record | None:
    directory.write_json("identity.json", experiment.identity)
    directory.write_text("config.yaml", experiment.config_text)  # what `fsbench explain` reads
    trainer, best = build_trainer(experiment, directory.path)
    _use_cpu_kernels(experiment, trainer, directory)
    with ProcessWatchdog(lambda: getattr(trainer.strategy.launcher, "procs", ())) as watchdog:
        try:
            training_info: dict[str, Any] = {}
            if experiment.trains:
                training_info = _train(experiment, trainer, directory, best)
            elif experiment.method.calibrates:
                training_info = {"calibration": _calibrate(experiment, trainer.strategy.root_device)}
            return _evaluate(experiment, trainer, directory.path, training_info)
        except RuntimeError as error:
            if trainer.world_size > 1 and is_broken_collective(error):
                raise watchdog.lost_peer() from error
            raise


def _use_cpu_kernels(experiment: Experiment, trainer: L.Trainer, directory: RunDirectory) -> None:
    """Let the frozen network take the kernels that the run has, or now gets."""
    asked, device = experiment.options.cpu_kernels, trainer.strategy.root_device
    kernels, is_other = kernels_of_run(directory, asked, experiment.trainer_settings["precision"], device)
    experiment.method.backbone.use_cpu_kernels(kernels)
    if device.type == "cpu":
        kept = f"; the run was begun with these, and {asked} would be others here" if is_other else ""
        log.info("kernels of the frozen network on the CPU: %s%s", kernels, kept)


def _train(
    experiment: Experiment, trainer: L.Trainer, directory: RunDirectory, best: ModelCheckpoint
) -> dict[str, Any]:
    """Train unless that is done, and load the best checkpoint into the method.

    Returns:
        The checkpoint's name, hash and validation mIoU, and what training cost.
    """
    folder = directory.path / "checkpoints"
    finished = folder / "finished.json"
    if not finished.is_file():
        directory.write_json("checkpoints/finished.json", _fit(experiment, trainer, folder / "last.ckpt", best))
        trainer.strategy.barrier("trained")
    training_info: dict[str, Any] = _read_training(finished)
    checkpoint = folder / training_info["checkpoint"]
    if not checkpoint.is_file() or sha256_file(checkpoint) != training_info["checkpoint_sha256"]:
        raise RecordError(f"{checkpoint} was changed after training; remove {directory.path} and run again")
    load_checkpoint(experiment.method, checkpoint)
    return training_info


def _fit(experiment: Experiment, trainer: L.Trainer, last: Path, best: ModelCheckpoint) -> dict[str, Any]:
    """Train from the checkpoint `last`, or from the first epoch where there is none."""
    log.info("training %s", f"goes on from {last}" if last.is_file() else "starts")
    meter = Meter(trainer.strategy.root_device)
    with unordered_kernels() as kernels:
        resumed = last if last.is_file() else None
        try:
            trainer.fit(experiment.method, experiment.data, ckpt_path=resumed, weights_only=True)
        except torch.OutOfMemoryError as error:
            assert experiment.division is not None
            raise RunError(out_of_memory(experiment.division, error)) from error
    checkpoint = Path(best.best_model_path)
    if not checkpoint.is_file():
        raise SettingsError(
            "training ended without a validation, so there is no best checkpoint; give it at least one epoch, one "
            "training batch and one validation batch"
        )
    plan = next(item for item in trainer.callbacks if isinstance(item, ValidationPlan))  # type: ignore[attr-defined]
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": sha256_file(checkpoint),
        "validation_mIoU": float(best.best_model_score or 0),
        "epochs": trainer.current_epoch,
        **({"ended_early": end} if (end := plan.end(trainer)) else {}),
        "step": step_of(experiment),
        "training_seconds": meter.seconds,
        "training_peak_mib": meter.peak_mib_of_all_ranks(),
        "unordered_kernels": sorted(kernels),
    }


def _calibrate(experiment: Experiment, device: torch.device) -> dict[str, float]:
    log.info("calibrating on base classes")
    episodes = experiment.data.calibration_episodes()
    with torch.inference_mode():
        return experiment.method.calibrate(episode.to(device) for episode in episodes)


def _read_training(finished: Path) -> dict[str, Any]:
    """Read what a finished training left. Raises RecordError where the file is damaged."""
    try:
        info = read_json(finished, "record")
        info["checkpoint_sha256"], info["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{finished} cannot be read ({type(error).__name__}); expected what a finished training writes; remove the "
            "file: the training then goes on from its last epoch"
        ) from error
    return dict(info)


@dataclass(frozen=True)
class _Evaluation:
    """The cost of this start's evaluation: seconds, peak memory, episodes, kernels without a fixed order."""

    seconds: float
    peak_mib: float
    episodes: int
    unordered_kernels: set[str]


def _evaluate(experiment: Experiment, trainer: L.Trainer, folder: Path, training_info: dict[str, Any]) -> Record | None:
    """Evaluate the episodes that are not done yet; rank 0 merges all ranks' journals into the record."""
    data = experiment.data
    checkpoint = training_info.pop("checkpoint_sha256", None)
    followed = [experiment.identity, checkpoint, training_info.get("calibration")]
    kernels = _cpu_kernels(experiment, trainer)
    followed += ["onednn"] if kernels == {"cpu_kernels": "onednn"} else []  # journals of torch's own kernels stay valid
    journal = Journal(folder / "evaluation", fingerprint(followed))
    keep = _kept(experiment)
    meaning = experiment.method.attention_meaning
    data.done = journal.done(keep, attends=bool(meaning))
    for line in journal.damaged():
        log.warning("%s of the journal is cut off or damaged; %s", line, _consequence(line))
    cost = _test(experiment, trainer, journal, keep)
    if trainer.global_rank != 0:
        return None
    frame = to_frame(journal.rows(), data.manifest)
    data.manifest.write(folder / "manifest.jsonl")
    _draw_predictions(experiment, folder, journal)
    predictions = write_predictions(folder, journal.predictions(), frame, keep, meaning)

    def on_written(record: Record) -> None:
        log_record(trainer.loggers, record, trainer.global_step)
        build_blocks([record])  # keeps its row, so that a table of many runs only reads

    scores = task_of(data.manifest.header).statistics(frame, data.manifest.header).scores()
    content = {
        "id": experiment.folder.name,
        "identity": experiment.identity,
        "checkpoint_sha256": checkpoint or (experiment.identity["training"] or {}).get("checkpoint_sha256"),
        "checkpoint_variant": experiment.checkpoint_variant,
        "weights": weights_of(experiment),
        "presence": "predicted" if experiment.method.predicts_presence else data.protocol.presence,
        "scores": {name: float(value[0]) for name, value in scores.items()},
        "augmented_episodes": sum(getattr(episode, "augmented", False) for episode in data.manifest.episodes),
        "dropped_classes": [data.dataset.class_names[n - 1] for n in data.manifest.header["dropped_classes"]],
        "remarks": experiment.method.record_notes(data),
        "cost": {
            "trainable_parameters": experiment.method.num_trainable_parameters(data.way),
            "total_parameters": experiment.method.num_parameters(data.way),
            "evaluation_seconds": cost.seconds,
            "episodes_per_second": cost.episodes / cost.seconds if cost.episodes else None,
            "peak_mib": cost.peak_mib,
        },
        **({"predictions": predictions} if predictions else {}),
        "made": training_info,
        "provenance": {
            **provenance(trainer),
            **kernels,
            **kept_features(experiment.method),
            "unordered_kernels": sorted(cost.unordered_kernels),
            "plug_ins": plug_in_origins(experiment),
        },
    }
    record = write_record(folder, content, frame, on_written)
    for path in journal.remove():
        log.warning("the damaged file of the journal is kept as %s", path)
    return record


def _cpu_kernels(experiment: Experiment, trainer: L.Trainer) -> dict[str, str]:
    """Return the kernels of the frozen network for the record's provenance; nothing on a GPU."""
    on_cpu = trainer.strategy.root_device.type == "cpu"
    return {"cpu_kernels": experiment.method.backbone.cpu_kernels} if on_cpu else {}


def _consequence(line: str) -> str:
    """Return what follows from a damaged line of the journal."""
    if line.endswith(" line 1"):
        return "it is the header: sound lines below it count, and the file is kept under the name damaged-…"
    return "its episode is evaluated again"


def _kept(experiment: Experiment) -> Keep:
    """Return how much of every prediction the run keeps; nothing of classification, whose counts are its answers."""
    keep: Keep = experiment.options.keep_predictions
    return keep if task_of(experiment.data.manifest.header).has_masks else "none"


def _test(experiment: Experiment, trainer: L.Trainer, journal: Journal, keep: Keep) -> _Evaluation:
    """Evaluate what the journal lacks, each result written to it as it comes."""
    meter = Meter(trainer.strategy.root_device)
    episodes = experiment.data.manifest.episodes
    left = len(episodes) - len(experiment.data.done)
    log.info("evaluation: %d of %d episodes are left", left, len(episodes))
    kernels: set[str] = set()
    if left:
        drawn = {episode.index for episode in _drawn_episodes(experiment)}
        least: Keep = "masks" if keep == "none" else keep  # of the episodes in the picture
        has_masks = task_of(experiment.data.manifest.header).has_masks
        kept = (lambda episode: least if episode in drawn else keep) if has_masks else None
        writer = ResultWriter(experiment.data, journal, kept)
        trainer.callbacks.append(writer)  # type: ignore[attr-defined]
        with unordered_kernels() as kernels:
            trainer.test(experiment.method, experiment.data, verbose=False)
        trainer.strategy.barrier("evaluated")
    return _Evaluation(meter.seconds, meter.peak_mib_of_all_ranks(), left, kernels)


def _drawn_episodes(experiment: Experiment) -> list[Any]:
    """Return the episodes that the picture of predictions shows; none of classification."""
    manifest = experiment.data.manifest
    return list(contact_sheet.choose(manifest.episodes)) if task_of(manifest.header).has_masks else []


def _draw_predictions(experiment: Experiment, folder: Path, journal: Journal) -> None:
    """Draw `predictions.png` from the predictions in the journal."""
    episodes = _drawn_episodes(experiment)
    drawn = {episode.index for episode in episodes}
    ways: dict[int, dict[int, tuple[Any, bool]]] = {}
    for episode, slot, decided, prediction in journal.predictions():
        if episode in drawn:
            ways.setdefault(episode, {})[slot] = prediction, decided
    counts = {
        (row["episode"], row["slot"]): [row[name] for name in COUNTS]
        for row in journal.rows()
        if row["episode"] in ways
    }
    predictions = {}
    for episode, slots in ways.items():
        of_way = [slots[slot] for slot in sorted(slots)]
        counted = np.array([counts[episode, slot] for slot in sorted(slots)])
        predictions[episode] = contact_sheet.DrawnPrediction(
            over_image(label_map_of([way for way, _ in of_way]), experiment.data.protocol.frame),
            [decided for _, decided in of_way],
            way_ious(counted, experiment.data.protocol.void),
        )
    if predictions:
        dataset = experiment.data.dataset
        contact_sheet.contact_sheet(folder / "predictions.png", dataset, predictions, episodes)


def _rank() -> int:
    """Return this process's rank, also before there is a trainer."""
    return int(getattr(rank_zero_only, "rank", 0))
