"""A Trainer of Lightning by hand: the answers to its validation and its test are counted as those of a run are."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import distributed

from fsbench.base.errors import SettingsError
from fsbench.core.episodic_scores import EpisodicScores
from fsbench.core.method import Method
from fsbench.protocols.loop import count_answers
from fsbench.records.counts import official_rows, to_frame

if TYPE_CHECKING:
    from fsbench.datamodules.datamodule import DataModule


class PlainTrainer(L.Callback):
    """Callback that lets Lightning's own Trainer test a method: it counts answers and logs scores of all ranks.

    Args:
        data: the data module of the Trainer.
    """

    def __init__(self, data: "DataModule"):
        self.data = data
        self.rows: list[dict[str, Any]] = []

    def setup(self, trainer: L.Trainer, pl_module: Any, stage: str) -> None:
        """Tell the data module which inputs the method needs, and drop the method's cached features.

        Features are cached by image names, which another test may have used for other images.
        """
        pl_module.check_data(self.data)
        _check_processes(self.data, stage, trainer)
        self.data.needs = pl_module.needs
        pl_module.backbone.cache.clear()

    # Validation

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        counting = self.data.validated.protocol.counting
        self.scores = EpisodicScores(self.data.validation_manifest.class_ids, counting.void).to(pl_module.device)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *batch: Any) -> None:
        for result in count_answers(self.data.validated, **outputs, name=pl_module.registry_name):
            self.scores.update(result)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        log_scores(pl_module, "val", self.scores.compute())  # sums over all ranks first
        _wait_for_all()

    # Test

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.rows = []
        self._prepare(pl_module)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *batch: Any) -> None:
        for result in count_answers(self.data.tested, **outputs, name=pl_module.registry_name):
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
        if len(manifest.episodes) < len(every):
            rank_zero_warn(
                f"{len(manifest.episodes)} of {len(every)} episodes were tested, as this Trainer limits its batches; "
                "the scores are of them alone"
            )
        frame = official_rows(to_frame(rows, manifest))
        log_scores(pl_module, "test", data.protocol.statistics(frame, data.manifest.header).scores())

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.rows = []
        pl_module.end_test()

    # Prediction

    def on_predict_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._prepare(pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        pl_module.end_test()

    def _prepare(self, method: Method) -> None:
        """Calibrate a method that asks for it, and make it ready for the test, as a run does."""
        if method.needs.adaptation is not None:
            raise SettingsError(
                f"{method.registry_name} {method.needs.before_test}, which a Trainer by hand does not do; test it by "
                "its name (fsbench bench), or take settings that do not"
            )
        if method.needs.calibration:
            method.calibrate(episode.to(method.device) for episode in self.data.calibration_episodes())
        method.begin_test(self.data)


def log_scores(method: Method, stage: str, scores: dict[str, float]) -> None:
    """Log scores {name: value}, which are equal on all ranks, as `<stage>/<name>`."""
    kind = torch.float32 if method.device.type == "mps" else torch.float64
    for name, value in scores.items():
        whole = torch.tensor(value, dtype=kind, device=method.device)
        method.log(f"{stage}/{name}", whole, prog_bar=name == "mIoU", sync_dist=False)


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
