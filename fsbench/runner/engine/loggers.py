"""Loggers of a run: Weights & Biases if the variable WANDB asks for it, and those of the configuration.

A finished run's scores go to every logger; W&B also gets tables, charts and the image of predictions, TensorBoard the
image.
"""

import csv
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fsbench.base.environment import can_be_used
from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files import fingerprint, read_text
from fsbench.base.files.images import open_image
from fsbench.base.terminal import print_progress
from fsbench.records.record import Record
from fsbench.results.rows.row import ALL, CLASS, SIZE, ResultRow, scores_of
from fsbench.results.tables.table import build_blocks
from fsbench.runner.engine.checkpoint import trained_steps
from fsbench.runner.engine.experiment import Experiment

MODES = ("online", "offline", "off")
OFFLINE = ("offline", "dryrun")
"""Values of W&B's own variable, WANDB_MODE, with which nothing is sent."""
LOGGED = Path("wandb", "logged-in.txt")
"""File in a run's folder that names the projects of W&B that have the finished run, one `_destination` a line."""


def wandb_mode() -> str:
    """Return the mode of Weights & Biases, such as "online" or "off", from an environment variable.

    The variable is WANDB, else WANDB_MODE; without both the mode is "off". Raises SettingsError for an unknown mode, or
    if the two variables contradict each other.
    """
    own = os.environ.get("WANDB_MODE", "disabled")
    mode = os.environ.get("WANDB") or {"disabled": "off", "dryrun": "offline"}.get(own, own)
    if mode not in MODES:
        raise SettingsError(f"WANDB (or WANDB_MODE) is '{mode}'{known_names(mode, MODES)}")
    if mode != "off" and os.environ.get("WANDB_MODE") == "disabled":
        raise SettingsError(
            f"WANDB is {mode}, but W&B's WANDB_MODE is disabled; these contradict each other; unset one of them"
        )
    return mode


def wandb_logger(experiment: Experiment, work: Path) -> WandbLogger | None:
    """Start the Weights & Biases (W&B) run of `experiment`; return None if logging is off.

    The W&B id follows from the run's folder, so that a resumed run continues the same W&B run; under a sweep agent the
    id is the agent's. The project is that of the variable WANDB_PROJECT, or "fsbench". If WANDB or WANDB_MODE says
    offline, no key is needed.

    Args:
        experiment: the run's settings.
        work: folder for W&B's own files.

    Raises:
        SettingsError: W&B cannot be reached.
    """
    mode = wandb_mode()
    if mode == "off":
        return None
    words = experiment.data.test_words
    swept = _is_swept()
    offline = mode == "offline" or os.environ.get("WANDB_MODE") in OFFLINE
    name, project = experiment.folder.name, _project()
    identifier = None if swept else _wandb_id(experiment.folder)
    run = _start(
        name=name,
        project=project,
        id=identifier,
        dir=str(work),
        mode="offline" if offline else None,
        resume=None if swept or offline else "allow",
        group="-".join(word for word in words if not word.startswith("fold")),
        job_type="train" if experiment.trains else "evaluate",
        tags=[experiment.options.name, *words, experiment.method.backbone.name],
        config=experiment.identity.as_json() | {"folder": name, "trainer": experiment.trainer_settings},
    )
    # Offline W&B writes in blocks, and a process that was killed has not written its last ones
    if run is not None and (offline or not run.resumed):
        for values in earlier_curves(work, trained_steps(work)):
            run.log(values)
    return WandbLogger(name, work, id=identifier, project=project, experiment=run)


@rank_zero_only
def lacks_finished_run(folder: Path) -> bool:
    """Return whether W&B is to have the finished run in `folder` and does not have it; say so if it does.

    An agent of a sweep waits for the score of each of its trials, so that it always lacks the run.
    """
    if wandb_mode() == "off":
        return False
    file, identifier = folder / LOGGED, _wandb_id(folder)
    if _is_swept() or not file.is_file() or _destination() not in read_text(file, "list").splitlines():
        return True
    offline = _sync_command(file.parent, identifier)
    again = f"; to log it again, delete {file}"
    print_progress(f"W&B: logged before, as run {identifier} of project {_destination()}{again}{offline}")
    return False


def log_finished_run(experiment: Experiment, record: Record) -> None:
    """Log the curves and the record of a run that was finished before to W&B, unless it has them or logging is off."""
    if lacks_finished_run(record.path) and (logger := wandb_logger(experiment, record.path)):
        log_record([logger], record, trained_steps(record.path))


def _is_swept() -> bool:
    return "WANDB_SWEEP_ID" in os.environ


def _project() -> str:
    return os.environ.get("WANDB_PROJECT", "fsbench")


def _destination() -> str:
    """Return the project, behind the entity (a user or a team) where the environment names one."""
    return "/".join(filter(None, (os.environ.get("WANDB_ENTITY"), _project())))


def _wandb_id(folder: Path) -> str:
    return fingerprint(folder.name)[:16]


def _sync_command(folder: Path, identifier: str) -> str:
    """Return words on how to send what W&B's folder of a run holds offline; "" if it holds nothing."""
    starts = sorted(folder.glob(f"offline-run-*-{identifier}"))  # by their times
    return f"; send it with: wandb sync {shlex.join(map(str, starts))}" if starts else ""


def earlier_curves(folder: Path, steps: int) -> Iterator[Mapping[str, float]]:
    """Yield {name: value} for each training step below `steps`, from the logs of a run's earlier starts.

    If a step was trained twice, the later values are used.
    """
    found: dict[int, dict[str, float]] = {}
    files = (folder / "curves").glob("version_*/metrics.csv")
    for file in sorted(files, key=lambda file: (len(file.parent.name), file.parent.name)):
        for row in csv.DictReader(read_text(file, "counts").splitlines()):
            with suppress(ValueError, TypeError):  # a line that a killed process has not ended
                values = {name: float(value) for name, value in row.items() if value}
                found.setdefault(int(values.pop("step", steps)), {}).update(values)
    for step in sorted(step for step in found if step < steps):
        yield {**found[step], "trainer/global_step": step}


@rank_zero_only
def _start(**arguments: Any) -> Any:
    """Start a W&B run; other ranks have none. Lightning would start it with a setting that W&B warns of."""
    # spared until it is needed
    import wandb

    if not can_be_used(Path("~/.local/share/wandb").expanduser()):  # what `wandb sync` is to send
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(arguments["dir"]) / "wandb"))
    try:
        run = wandb.init(**arguments, reinit="finish_previous", settings=wandb.Settings(console="off", silent=True))
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"WANDB=online: {reason}; log in with `wandb login`, or take WANDB=offline") from error
    run.define_metric("trainer/global_step")  # as Lightning has it: the axis of all others
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run


@rank_zero_only
def log_record(loggers: Iterable[Logger], record: Record, step: int) -> None:
    """Log a finished run's scores, also by class and object size; the loggers must not be used afterwards.

    Names are test/<metric>, test/class/<class>/<metric> and test/size/<bin>/<metric>.

    Args:
        loggers: Lightning's loggers to log to.
        record: the finished run.
        step: training step at which the scores are logged.
    """
    (block,) = build_blocks([record], by=(SIZE, CLASS))
    rows = [row for row in block.rows if row.run]  # without further answers of the protocol
    metrics = {
        "/".join(("test", *([] if row.part_kind == ALL else [row.part_kind, row.part]), row.metric)): row.estimate.value
        for row in rows
        if not isnan(row.estimate.value)
    }
    image_file = record.path / "predictions.png"
    for logger in loggers:
        logger.log_metrics(metrics, step)
        if isinstance(logger, WandbLogger):
            _log_wandb(logger, record, rows, image_file)
        elif isinstance(logger, TensorBoardLogger) and image_file.is_file():
            with open_image(image_file) as image:
                pixels = np.asarray(image.convert("RGB"))
            logger.experiment.add_image("predictions", pixels, step, dataformats="HWC")
            logger.experiment.flush()
        elif isinstance(logger, CSVLogger):
            logger.save()


def _log_wandb(logger: WandbLogger, record: Record, rows: Sequence[ResultRow], image_file: Path) -> None:
    # spared until it is needed
    import wandb

    run = logger.experiment
    scores = scores_of(row for row in rows if row.part_kind == ALL)
    for name, score in scores.items():
        run.summary[name] = score.value
    run.summary["cost"] = record.run.cost.as_json()
    intervals = [
        [name, score.value, *((score.low, score.high) if score.has_interval else (None, None))]
        for name, score in scores.items()
    ]
    panels: dict[str, Any] = {"scores": wandb.Table(columns=["metric", "value", "low", "high"], data=intervals)}
    for kind in (CLASS, SIZE):
        panels[f"by {kind}"] = table = _table(wandb, kind, rows)
        for metric in scores:
            if metric in table.columns:
                panels[f"{metric} by {kind}"] = wandb.plot.bar(table, kind, metric, title=f"{metric} by {kind}")
    if image_file.is_file():
        panels["predictions"] = wandb.Image(str(image_file), caption=record.path.name)
    run.log(panels)
    folder = Path(run.dir).parent
    run.finish()
    (record.path / LOGGED).parent.mkdir(exist_ok=True)
    with (record.path / LOGGED).open("a") as file:
        file.write(f"{_destination()}\n")
    if run.offline:
        print_progress(f"W&B: this run is offline in {folder}{_sync_command(folder.parent, run.id)}")


def _table(wandb: Any, kind: str, rows: Sequence[ResultRow]) -> Any:
    """Return a W&B table with a line per class or size: its pairs, and the scores that any of them has."""
    parts: dict[str, list[ResultRow]] = {}
    for row in (row for row in rows if row.part_kind == kind):
        parts.setdefault(row.part, []).append(row)
    scores = {part: scores_of(of_part) for part, of_part in parts.items()}
    metrics = [
        name for name in dict.fromkeys(row.metric for row in rows) if any(name in own for own in scores.values())
    ]
    lines = [
        [part, parts[part][0].pairs, *(own[name].value if name in own else None for name in metrics)]
        for part, own in scores.items()
    ]
    return wandb.Table(columns=[kind, "pairs", *metrics], data=lines)
