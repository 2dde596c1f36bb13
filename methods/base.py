"""The contract of a method: encode an episode, predict it, and (if it learns) give a loss and an optimiser.

Evaluation is written here once. It hands a method one episode at a time, without the truth, so that no figure can
depend on the batch, and no method can peek.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor

from fsbench.backbones import BackboneConfig, FrozenBackbone, FrozenViT
from fsbench.checkpoints import WRITTEN_BY, AuthorsForm, describe
from fsbench.ensembles import ENSEMBLES, NShotStrategy
from fsbench.episodes import EpisodeBatch
from fsbench.metrics import EpisodeResult, count, presence_from_mask
from fsbench.regions import slot_regions


@dataclass
class Prediction:
    """What a method says about one episode.

    Attributes:
        label_map: (h, w) integers, 0 background, 1..N ways, at the query's original size.
        decided: (N,) bool, way is present; None for methods that only segment (the protocol derives it from the mask).
        score: (N,) float in [0, 1], how sure it is; None like `decided`.
        logits: (N, 2, h, w), each way by itself, entry 1 its foreground; what the ensembles of one-shot predictions
            need (`nshot_strategy`), else it may be None.
    """

    label_map: Tensor
    decided: Tensor | None = None
    score: Tensor | None = None
    logits: Tensor | None = None


class FewShotMethod(L.LightningModule):
    """Base of every method.

    Subclasses implement `forward` (one episode) and, if `learns`, `loss` and `configure_optimizers`. What they register
    as modules or parameters is trainable and goes into checkpoints; the frozen backbone is neither.

    Args:
        backbone: the frozen backbone; raises CheckpointError when its weights are missing.
    """

    answers = "segmentation"
    backbone: FrozenBackbone
    backbone_type: ClassVar[type[FrozenBackbone]] = FrozenViT
    """What kind of features the method takes; `fsbench.pyramids.FrozenPyramid` is another."""
    authors_form: ClassVar[AuthorsForm] = AuthorsForm()
    """How the authors' checkpoints are laid out."""
    sees_all_shots = False
    """True for methods that take K shots in one pass."""
    nshot_strategy: NShotStrategy = "own"
    """How K shots become one prediction; set by the run's option of this name."""
    learns = True
    """False for training-free methods: the runner goes straight to the evaluation."""
    calibrates = False
    """True for training-free methods that look at base classes first, see `calibrate`."""

    def __init__(self, backbone: BackboneConfig):
        super().__init__()
        self.backbone = self.backbone_type(backbone)

    @property
    def segments_only(self) -> bool:
        """True for methods whose `Prediction` has no decisions; presence then follows from the mask."""
        return False

    def remarks(self, data: Any) -> list[str]:
        """What a reader of the record must know of the method's settings on `data`; the table says it."""
        return []

    def trainable(self, ways: int) -> int:
        """Number of parameters that are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def total(self, ways: int) -> int:
        """Number of all parameters."""
        return self.trainable(ways) + self.backbone.parameters

    def check_image_size(self, size: int) -> None:
        """Raise SettingsError for a side of images that the method cannot take."""
        self.backbone.check_image_size(size)

    def check_shots(self, test: int, training: int | None) -> None:
        """Raise SettingsError for a number of shots that the method cannot take at a time; `training` is None where
        nothing is trained."""

    def checkpoint_settings(self) -> dict[str, Any]:
        """Settings that what was learned depends on; a checkpoint trained with others is refused."""
        return {}

    def select_learned(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What of a checkpoint's weights is used, and those of `checkpoint_settings` that it may have been trained with
        although the method goes without: all, and none."""
        return learned, {}

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict the one episode of `episode` (no padding, no truth)."""
        raise NotImplementedError

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Training losses of a batch; the entry "loss" is minimised, all are logged."""
        raise NotImplementedError

    def calibrate(self, episodes: Iterable[EpisodeBatch]) -> dict[str, float]:
        """Choose settings on labelled episodes of base classes, single ones; returns what was chosen. Only called when
        `calibrates`."""
        raise NotImplementedError

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        losses = self.loss(batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch))
        return losses["loss"]

    def validation_step(self, batch: EpisodeBatch, batch_idx: int) -> dict[str, list[EpisodeResult]]:
        return {"results": [self.evaluate(episode) for episode in batch.split()]}

    def test_step(self, batch: EpisodeBatch, batch_idx: int) -> dict[str, list[EpisodeResult]]:
        return self.validation_step(batch, batch_idx)

    def evaluate(self, episode: EpisodeBatch) -> EpisodeResult:
        """Predict one episode and count."""
        truth = episode.known_truth()
        prediction = self._predict(episode.without_truth())
        ways = truth.classes.shape[1]
        decided, score = prediction.decided, prediction.score
        if decided is None or score is None:
            decided, score = presence_from_mask(prediction.label_map, ways)
        label_map = prediction.label_map.to("cpu", torch.uint8)
        rom, rum = slot_regions(label_map, truth.label_maps[0], ways)
        return EpisodeResult(
            episode=int(episode.episodes[0]),
            classes=truth.classes[0].cpu(),
            counts=count(prediction.label_map, truth.label_maps[0], ways).cpu(),
            present=truth.presence[0].cpu(),
            decided=decided.cpu(),
            score=score.float().cpu(),
            label_map=label_map,
            rom=rom,
            rum=rum,
        )

    def _predict(self, episode: EpisodeBatch) -> Prediction:
        if self.nshot_strategy not in ENSEMBLES or episode.support.shape[2] == 1:
            prediction: Prediction = self(episode)
            return prediction
        from methods._ensemble import ensemble

        return ensemble(self, episode, self.nshot_strategy)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[WRITTEN_BY] = describe(self)
        data = None if self._trainer is None else self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None:  # Lightning calls this hook of the method alone
            data.on_save_checkpoint(checkpoint)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device, non_blocking=True)
