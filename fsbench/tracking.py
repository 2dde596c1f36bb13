"""Where a run is followed: Weights & Biases when the variable WANDB says so, and the loggers of the configuration.

A finished run's scores go to every logger; W&B gets tables, charts and the picture of predictions as well, TensorBoard
the picture.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fsbench.errors import SettingsError
from fsbench.records import Record, fingerprint
from fsbench.tables import Cell as Part
from fsbench.tables import Row, build_blocks

if TYPE_CHECKING:
    from fsbench.cell import Cell

MODES = ("online", "offline", "off")


def wandb_mode() -> str:
    """The variable WANDB; "off" when it is not set. Raises SettingsError for another word."""
    mode = os.environ.get("WANDB") or "off"
    if mode not in MODES:
        raise SettingsError(f"WANDB is '{mode}', expected one of {', '.join(MODES)}")
    return mode


def wandb_logger(cell: "Cell", work: Path) -> WandbLogger | None:
    """The W&B run of `cell`, begun; None when WANDB is off.

    Its id follows from the run's folder, so that a run that goes on is the same run there; under a sweep's agent the
    id is the agent's. The project is that of the variable WANDB_PROJECT, or fsbench. Raises SettingsError when W&B
    cannot be reached.
    """
    mode = wandb_mode()
    if mode == "off":
        return None
    import wandb

    data, name = cell.data, cell.options.name
    task = f"{data.way}way{data.shot}shot-{data.setting.replace('_', '-')}"
    swept = "WANDB_SWEEP_ID" in os.environ
    logger = WandbLogger(
        name=cell.folder.name,
        save_dir=work,
        project=os.environ.get("WANDB_PROJECT", "fsbench"),
        offline=mode == "offline",
        id=None if swept else fingerprint(cell.folder.name)[:16],
        resume=None if swept or mode == "offline" else "allow",
        group=f"{data.dataset.name}-{data.protocol.name}-{task}",
        job_type="train" if cell.trains else "evaluate",
        tags=[name, data.dataset.name, data.protocol.name, task, f"fold{data.fold}", cell.method.backbone.name],
        config=cell.identity | {"folder": cell.folder.name, "trainer": cell.trainer_settings},
        settings=wandb.Settings(console="off", silent=True),
    )
    try:
        _begin(logger)
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"WANDB=online: {reason}; log in with `wandb login`, or take WANDB=offline") from error
    return logger


@rank_zero_only
def _begin(logger: WandbLogger) -> None:
    logger.experiment  # noqa: B018  (the property begins the run)


@rank_zero_only
def log_record(loggers: Iterable[Logger], record: Record, step: int) -> None:
    """Scores of a finished run, of its classes and of its object sizes, to all `loggers`, which are done with it."""
    (row,) = build_blocks([record], by_class=True)[0].rows
    picture = record.path / "predictions.png"
    for logger in loggers:
        logger.log_metrics(metrics_of(row), step)
        if isinstance(logger, WandbLogger):
            _log_wandb(logger, record, row, picture)
        elif isinstance(logger, TensorBoardLogger) and picture.is_file():
            _log_picture(logger, picture, step)
        elif isinstance(logger, CSVLogger):
            logger.save()


def metrics_of(row: Row) -> dict[str, float]:
    """test/<metric>, test/class/<class>/<metric> and test/size/<bin>/<metric>."""
    found = {f"test/{name}": score.value for name, score in row.scores.items()}
    for kind, parts in (("class", row.by_class), ("size", row.by_size)):
        for part, cell in parts.items():
            found |= {f"test/{kind}/{part}/{name}": score.value for name, score in cell.scores.items()}
    return found


def _log_wandb(logger: WandbLogger, record: Record, row: Row, picture: Path) -> None:
    import wandb

    run = logger.experiment
    for name, score in row.scores.items():
        run.summary[name] = score.value
    run.summary["cost"] = record.run["cost"]
    ends = [[name, score.value, score.low, score.high] for name, score in row.scores.items()]
    panels: dict[str, Any] = {"scores": wandb.Table(columns=["metric", "value", "low", "high"], data=ends)}
    for kind, parts in (("class", row.by_class), ("size", row.by_size)):
        panels[f"by {kind}"] = table = _table(wandb, kind, parts, row)
        for metric in row.scores:
            if metric in table.columns:
                panels[f"{metric} by {kind}"] = wandb.plot.bar(table, kind, metric, title=f"{metric} by {kind}")
    if picture.is_file():
        panels["predictions"] = wandb.Image(str(picture), caption=record.path.name)
    run.log(panels)
    run.finish()


def _table(wandb: Any, kind: str, parts: dict[str, Part], row: Row) -> Any:
    """A line per class or size: pairs, and the scores that some of them have."""
    metrics = [name for name in row.scores if any(name in part.scores for part in parts.values())]
    lines = [
        [label, part.pairs, *(part.scores[name].value if name in part.scores else None for name in metrics)]
        for label, part in parts.items()
    ]
    return wandb.Table(columns=[kind, "pairs", *metrics], data=lines)


def _log_picture(logger: TensorBoardLogger, picture: Path, step: int) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(picture) as image:
        logger.experiment.add_image("predictions", np.asarray(image.convert("RGB")), step, dataformats="HWC")
    logger.experiment.flush()
