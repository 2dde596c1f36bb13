"""Do a cell: train if the method learns, evaluate, write the record. Everything that touches Lightning's Trainer.

An unfinished run goes on where it was: training from its last epoch, evaluation from the last finished episode.
"""

import json
import logging
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fsbench import __version__, pictures, repetition
from fsbench.callbacks import THREADS, Recorder, StepSeed, Validation, kept_predictions
from fsbench.cell import Cell
from fsbench.checkpoints import WholeCheckpoints, load_checkpoint
from fsbench.companions import Companions
from fsbench.cost import Meter
from fsbench.determinism import unordered_kernels
from fsbench.errors import GOES_ON, FsbenchError, RecordError, RunError, SettingsError, user_message
from fsbench.files import locked, make_folder, remove_halves, sha256_file, write_text
from fsbench.manifest import classifies
from fsbench.paths import REPOSITORY
from fsbench.records import Journal, Record, fingerprint, to_frame, write_record
from fsbench.tables import build_blocks, whole_sums
from fsbench.tracking import log_record, wandb_logger

log = logging.getLogger("fsbench")
LIGHTNING = ("lightning.pytorch", "lightning.fabric")  # these have handlers of their own


def run(cell: Cell) -> Record | None:
    """Do what is left to do of `cell`. Every rank calls this; rank 0 writes and gets the record."""
    if cell.is_done:
        return cell.record()
    make_folder(cell.folder.parent)
    with _locked(cell.folder):
        repeats = (cell.folder / repetition.COMPLETE).is_file()  # the old record stays until the new one is complete
        if _rank() == 0 and repetition.cut_off(cell.folder):
            repetition.replace(cell.folder)
            return cell.record()
        if repeats and not cell.options.force:
            return cell.record()  # another process made it just now
        work = repetition.beside(cell.folder) if repeats else cell.folder
        make_folder(work)
        rank_zero_only(remove_halves)(work)
        with _logged(work):
            try:
                record = _run_in(work, cell)
            except MisconfigurationException as error:  # Lightning's: settings of the trainer that it refuses
                log.error("%s", error)
                raise SettingsError(f"trainer: {error}") from error
            except FsbenchError as error:
                log.error("%s", user_message(error))
                raise
            except Exception:
                log.exception("failed")
                raise
        if repeats and record is not None:
            repetition.replace(cell.folder)
            return Record(cell.folder, record.run)
        return record


def _run_in(work: Path, cell: Cell) -> Record | None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = cell.options.tf32
    _rank_zero_write(work / "identity.json", cell.identity)
    rank_zero_only(write_text)(work / "config.yaml", cell.config_text)  # what `fsbench explain` reads
    keeper = ModelCheckpoint(
        work / "checkpoints", "best", monitor="val/mIoU", mode="max", save_last=True, enable_version_counter=False
    )
    arguments = cell.trainer_arguments
    curves = [CSVLogger(work, "curves")] if cell.trains else []
    followed = wandb_logger(cell, work)
    bars = [] if arguments["enable_progress_bar"] is False else [TQDMProgressBar(leave=True)]
    torch.set_num_threads(THREADS)
    trainer = L.Trainer(
        **arguments
        | {
            "default_root_dir": str(work),
            "logger": [*curves, *_listed(followed), *_listed(arguments["logger"])],
            "callbacks": [
                keeper,
                Validation(cell.data),
                StepSeed(cell.data.seed),
                *bars,
                *_listed(arguments["callbacks"]),
            ],
            "use_distributed_sampler": False,  # ours neither pads nor repeats
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        }
    )
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()
    with Companions(lambda: getattr(trainer.strategy.launcher, "procs", ())) as companions:
        try:
            made: dict[str, Any] = {}
            if cell.trains:
                made = _train(work / "checkpoints", cell, trainer, keeper)
            elif cell.method.calibrates:
                made = {"calibration": _calibrate(cell, trainer.strategy.root_device)}
            return _evaluate(work, cell, trainer, made)
        except RuntimeError as error:  # a collective's, when another rank is no more
            lost = companions.lost(seconds=1) if trainer.world_size > 1 else None
            if lost is None:
                raise
            raise RunError(f"{lost}; {GOES_ON}") from error


def _listed(value: Any) -> list[Any]:
    """One instance, several, or none (also True and False, which Lightning takes for its own default and none)."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _train(folder: Path, cell: Cell, trainer: L.Trainer, keeper: ModelCheckpoint) -> dict[str, Any]:
    """Train, or find that this is done; load the best checkpoint and say what it is and what it cost."""
    finished = folder / "finished.json"
    if not finished.is_file():
        last = folder / "last.ckpt"
        log.info("training %s", f"goes on from {last}" if last.is_file() else "starts")
        meter = Meter(trainer.strategy.root_device)
        with unordered_kernels() as kernels:
            trainer.fit(cell.method, cell.data, ckpt_path=last if last.is_file() else None, weights_only=True)  # type: ignore[arg-type]
        best = Path(keeper.best_model_path)
        if not best.is_file():
            raise SettingsError(
                "training ended without a validation, so there is no best checkpoint; give it at least one epoch, one "
                "training batch and one validation batch"
            )
        peak = _largest(meter.peak_mib)
        _rank_zero_write(
            finished,
            {
                "checkpoint": best.name,
                "checkpoint_sha256": sha256_file(best),
                "validation_mIoU": float(keeper.best_model_score or 0),
                "epochs": trainer.current_epoch,
                "training_seconds": meter.seconds,
                "training_peak_mib": peak,
                "unordered_kernels": sorted(kernels),
            },
        )
        trainer.strategy.barrier("trained")
    made: dict[str, Any] = json.loads(finished.read_text())
    best = folder / made["checkpoint"]
    if not best.is_file() or sha256_file(best) != made["checkpoint_sha256"]:
        raise RecordError(f"{best} was changed after training; remove {folder.parent} and run again")
    load_checkpoint(cell.method, best)
    return made


def _calibrate(cell: Cell, device: torch.device) -> dict[str, float]:
    log.info("calibrating on base classes")
    with torch.inference_mode():
        return cell.method.calibrate(episode.to(device) for episode in cell.data.calibration_episodes())


def _evaluate(work: Path, cell: Cell, trainer: L.Trainer, made: dict[str, Any]) -> Record | None:
    """Evaluate the episodes that are not done yet; rank 0 merges all journals into the record."""
    manifest = cell.data.manifest
    checkpoint = made.pop("checkpoint_sha256", None)
    journal = Journal(work / "evaluation", fingerprint([cell.identity, checkpoint, made.get("calibration")]))
    cell.data.done = journal.done()
    for line in journal.damaged():
        log.warning("%s of the journal is cut off or damaged; its episode is evaluated again", line)
    shown = [] if classifies(manifest.header) else pictures.choose(manifest.episodes)
    meter = Meter(trainer.strategy.root_device)
    fresh = len(manifest.episodes) - len(cell.data.done)
    log.info("evaluation: %d of %d episodes are left", fresh, len(manifest.episodes))
    kernels: set[str] = set()
    if fresh:
        recorder = Recorder(cell.data, journal, work / "predictions", {episode.index for episode in shown})
        trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
        with unordered_kernels() as kernels:
            trainer.test(cell.method, cell.data, verbose=False)  # type: ignore[arg-type]
        trainer.strategy.barrier("evaluated")
    seconds, peak = meter.seconds, _largest(meter.peak_mib)
    if trainer.global_rank != 0:
        return None
    frame = to_frame(journal.rows(), manifest)
    manifest.write(work / "manifest.jsonl")
    predictions = kept_predictions(work / "predictions", shown)
    if predictions:
        pictures.contact_sheet(work / "predictions.png", cell.data.dataset, predictions, shown)

    def tell(record: Record) -> None:
        log_record(trainer.loggers, record, trainer.global_step)
        build_blocks([record])  # keeps its row, so that a table of many runs only reads

    record = write_record(
        work,
        {
            "id": cell.folder.name,
            "identity": cell.identity,
            "checkpoint_sha256": checkpoint or (cell.identity["training"] or {}).get("checkpoint_sha256"),
            "presence": cell.data.protocol.presence if cell.method.segments_only else "predicted",
            "scores": {name: float(value[0]) for name, value in whole_sums(frame, manifest.header).scores().items()},
            "augmented_episodes": sum(getattr(episode, "augmented", False) for episode in manifest.episodes),
            "remarks": cell.method.remarks(cell.data),
            "cost": {
                "trainable_parameters": cell.method.trainable(cell.data.way),
                "total_parameters": cell.method.total(cell.data.way),
                "evaluation_seconds": seconds,
                "episodes_per_second": fresh / seconds if fresh else None,
                "peak_mib": peak,
            },
            "made": made,
            "provenance": {**_provenance(trainer), "unordered_kernels": sorted(kernels)},
        },
        frame,
        tell,
    )
    shutil.rmtree(work / "evaluation")
    return record


def _largest(value: float) -> float:
    """The largest of all ranks' values."""
    if not torch.distributed.is_initialized():
        return value
    values: list[float] = [0.0] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return max(values)


def _rank() -> int:
    """Of this process, also before there is a trainer."""
    return int(getattr(rank_zero_only, "rank", 0))


@rank_zero_only
def _rank_zero_write(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")


def _provenance(trainer: L.Trainer) -> dict[str, Any]:
    """With what the record was made, and when."""
    packages = ("torch", "lightning", "timm", "numpy", "pillow")
    device = trainer.strategy.root_device
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {name: metadata.version(name) for name in packages} | {"fsbench": __version__},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The model of this machine's CPU, or what is known of it."""
    with suppress(OSError):
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if named:
            return named[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Of the suite's code, or None where it is no checkout or git is not installed."""
    describe = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One run at a time works in `folder` and beside it; rank 0 holds the lock."""
    if _rank() != 0:
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.with_name(f".{folder.name}.lock")))
        except BlockingIOError as error:
            raise SettingsError(f"another process is working on {folder}; wait for it or stop it") from error
        yield


@contextmanager
def _logged(work: Path) -> Iterator[None]:
    """Messages of the suite and of Lightning, and warnings, go to `run.log` instead of the screen."""
    handler = logging.FileHandler(work / "run.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.captureWarnings(True)
    loggers = [logging.getLogger(name) for name in ("fsbench", "lightning", *LIGHTNING, "py.warnings")]
    for logger in loggers:
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.handlers = []
        logging.captureWarnings(False)
        handler.close()
