"""Steps and hooks that a plain Trainer of Lightning calls: `fit`, `validate`, `test`, `predict` log the suite's scores.

A run of the suite keeps the truth of its evaluations from the method; a Trainer by hand gives it whole batches, which
are parted here.
"""

from collections.abc import Iterable
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, distributed

from fsbench.base.errors import SettingsError
from fsbench.core.episodic_scores import EpisodicScores
from fsbench.core.needs import Needs
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.evaluation import Counting, evaluate_batches
from fsbench.records.counts import official_rows, to_frame

if TYPE_CHECKING:
    from fsbench.core.datamodule import DataModule


class EvaluatedByLightning(L.LightningModule):
    """A module that answers batches, and the steps and hooks by which a Trainer evaluates it."""

    registry_name: ClassVar[str]
    needs: Needs

    def answer_batch(self, batch: Any) -> list[Any]:
        """Return an answer to each episode of a batch that lacks its truth and is on the method's device."""
        raise NotImplementedError

    def on_device(self, batch: Any) -> Any:
        """Return a batch on the device of the method."""
        raise NotImplementedError

    def begin_test(self, data: Any) -> None:
        """Make ready for the episodes of a test; `data` is its data module, or None where single batches are tested."""

    def end_test(self) -> None:
        """Leave nothing behind of the test's episodes."""

    def calibrate(self, episodes: Iterable[Any]) -> dict[str, float]:
        """Choose settings on labelled single episodes of base classes; called only if `needs.calibration`."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Tell the data module of a Trainer by hand what the method needs; a run of the suite has told it."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None and not data.counts_validation_elsewhere:
            self.check_data(data)
            data.needs = self.needs

    def check_data(self, data: "DataModule") -> None:
        """Raise SettingsError for data that the method cannot take."""
        raise NotImplementedError

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return self.on_device(batch)

    # Validation

    def on_validation_epoch_start(self) -> None:
        data = self._data
        if data.counts_validation_elsewhere:
            return
        scores = EpisodicScores(data.validation_manifest.class_ids, data.validated.protocol.counting.void).to(
            self.device
        )
        self._validation = [scores]  # in a list: it is no module of the method's

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, list[Any]]:
        """Answer a batch; count the answers where it carries its truth."""
        data = self._data
        if data.counts_validation_elsewhere:
            return {"answers": self.answer_batch(batch)}
        for result in self._counted(data.validated, batch):
            self._validation[0].update(result)
        return {}

    def on_validation_epoch_end(self) -> None:
        if not self._data.counts_validation_elsewhere:
            self.log_scores("val", self._validation[0].compute())  # sums over all ranks first

    # Test

    def on_test_start(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._prepare()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Answer a batch and count the answers against its truth."""
        for result in self._counted(self._data.tested, batch):
            self._rows += result.rows()

    def on_test_epoch_end(self) -> None:
        data, rows = self._data, _of_all_ranks(self._rows)
        frame = official_rows(to_frame(rows, _tested(data.manifest, {row["episode"] for row in rows})))
        scores = data.protocol.statistics(frame, data.manifest.header).scores()
        self.log_scores("test", scores)

    def on_test_end(self) -> None:
        self._rows = []
        self.end_test()

    # Prediction

    def on_predict_start(self) -> None:
        self._prepare()

    def predict_step(self, batch: Any, batch_idx: int) -> list[dict[str, Any]]:
        """Return the answers to a batch, each with the number of its `episode`; its truth is not looked at.

        Of segmentation they have the entries of `SegmentationAnswer`, of classification `labels`.
        """
        test = self._data.tested
        seen, _ = test.part(batch)
        answers = self.answer_batch(seen)  # as plain values: Lightning moves no frozen objects
        plain = (dict(vars(answer)) if is_dataclass(answer) else {"labels": answer} for answer in answers)
        return [{"episode": number, **answer} for number, answer in zip(test.numbers(seen), plain, strict=True)]

    def on_predict_end(self) -> None:
        self.end_test()

    def _prepare(self) -> None:
        """Calibrate a method that asks for it, and make it ready for the test, as a run does."""
        data = self._data
        if self.needs.adaptation is not None:
            raise SettingsError(
                f"{self.registry_name} {self.needs.before_test}, which a Trainer by hand does not do; test it by its "
                "name (fsbench bench), or take settings that do not"
            )
        if self.needs.calibration:
            self.calibrate(episode.to(self.device) for episode in data.calibration_episodes())
        self.begin_test(data)

    def log_scores(self, stage: str, scores: dict[str, float]) -> None:
        """Log scores that are those of all ranks, as `test/mIoU`, with all their digits."""
        for name, value in scores.items():
            self.log(f"{stage}/{name}", _whole(value, self.device), prog_bar=name == "mIoU", sync_dist=False)

    @property
    def _data(self) -> "DataModule":
        try:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        except RuntimeError:  # it has no Trainer
            data = None
        if data is None:
            raise SettingsError(
                "the Trainer evaluates a method of fsbench without knowing its test; expected a data module: "
                "trainer.test(method, datamodule=EpisodicDataModule(...))"
            )
        return data

    def _counted(self, test: Counting, batch: Any) -> list[Any]:
        results: list[Any] = []
        evaluate_batches([batch], test, self.answer_batch, results.extend, self.registry_name)
        return results


def _tested(manifest: Manifest, numbers: set[int]) -> Manifest:
    """Return the manifest of the episodes that a Trainer tested, which are some where it limits its batches."""
    episodes = tuple(episode for episode in manifest.episodes if episode.index in numbers)
    if len(episodes) == len(manifest.episodes):
        return manifest
    rank_zero_warn(
        f"{len(episodes)} of {len(manifest.episodes)} episodes were tested, as this Trainer limits its batches; the "
        "scores are of them alone"
    )
    return replace(manifest, episodes=episodes)


def _of_all_ranks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, rows)
    return [row for of_rank in gathered for row in of_rank]


def _whole(value: float, device: torch.device) -> Tensor:
    """Return a score with the digits that it has, where the device knows such numbers."""
    return torch.tensor(value, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
