"""HMNet: hybrid Mamba network for few-shot segmentation (NeurIPS 2024).

A state-space scan reads the query; before every patch of it the support is read again, so that it is not forgotten
(support recapped Mamba), and query pixels read the support's state without seeing each other (query intercepted
Mamba). A decoder follows, and an ensemble with a base learner, as in BAM. Sections are those of hmnet.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) a query's original size, c channels.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Literal

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Target
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.hmnet.head import HMNetHead, Output
from fsbench.methods.hmnet.mamba.config import HybridMambaConfig
from fsbench.methods.hmnet.optimization import MODULES, decay_groups, keep_gradients_local, one_update
from fsbench.methods.hmnet.weights import ENSEMBLE, HMNetReleasedFormat
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.poly_rate import poly_rate
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import HeadOutput, LabelledStages, StageSegmenter, check_rates, shots_of
from fsbench.methods.modules.stages import widths
from fsbench.networks.backbones.base import BackboneConfig


class HMNet(StageSegmenter):
    """HMNet and its ablations.

    Args:
        backbone: `pspnet_resnet50`, `pspnet_resnet101` or `pspnet_vgg16`; without a base learner also a dilated_* or a
            pyramid.
        width: channels of the head.
        feature_side: side of the features in the head, 64 for images of 473 and 80 for 633.
        mamba: False leaves the hybrid Mamba network out (Table 3, first row).
        blocks, hybrid, srm, qim, qim_scalar_skip, ratio, states: see
            `fsbench.methods.hmnet.mamba.config.HybridMambaConfig`.
        bam: join the base learner's prediction (§9). False also loads checkpoints that were trained with it, and uses
            their meta learner alone (§7, the evaluation-only variant).
        shots: 1 averages the shots' style distances, as the paper says, whatever K is tested, so that one training
            serves every K. More learns weights of that many shots, as the authors' code does, which trains a model for
            each K; K must then be the same in training and test.
        learning_rate: rate of SGD before the factor 10 of the authors' rule (§10); it falls to 0.
        momentum, weight_decay: of SGD.
        mamba_learning_rate: constant rate of AdamW for the hybrid Mamba network.
        mamba_weight_decay: of AdamW.
        mamba_schedule: "constant" as the authors', "poly" falls like SGD's.
    """

    automatic_optimization = False  # two optimisers step together
    attention_meaning = (
        "prior: similarity of deep features to the supports' foreground, from 0 to 1 within the image, mean over shots"
    )
    released_format = HMNetReleasedFormat("module.")

    def __init__(
        self,
        backbone: BackboneConfig,
        width: int = 256,  # §3
        feature_side: int = 64,  # §1
        mamba: bool = True,
        blocks: int = 8,
        hybrid: bool = True,
        srm: Literal["recap", "basic", "off"] = "recap",
        qim: Literal["share", "basic", "off"] = "share",
        qim_scalar_skip: bool = True,
        ratio: int = 4,
        states: int = 16,
        bam: bool = True,
        shots: int = 1,
        learning_rate: float = 5e-3,  # §10
        momentum: float = 0.9,  # §10
        weight_decay: float = 1e-4,  # §10
        mamba_learning_rate: float = 6e-5,  # §10
        mamba_weight_decay: float = 0.01,  # §10
        mamba_schedule: Literal["constant", "poly"] = "constant",
    ):
        super().__init__(backbone)
        if bam and not isinstance(self.backbone, FrozenPSPNet):
            raise SettingsError(f"bam needs a backbone with a base learner, found {backbone.name}; give a pspnet_*")
        if width < 4 or shots < 1:
            raise SettingsError(f"width and shots are {width} and {shots}; expected 4 and 1 or more")
        if shots > 1 and not bam:
            raise SettingsError(
                f"shots is {shots}, but without a base learner (bam: false) there are no weights of shots; give shots: "
                "1, which serves every number"
            )
        rates = {"learning_rate": learning_rate, "mamba_learning_rate": mamba_learning_rate, "momentum": momentum}
        rates |= {"weight_decay": weight_decay, "mamba_weight_decay": mamba_weight_decay}
        check_rates(**rates)
        config = HybridMambaConfig(blocks, hybrid, srm, qim, qim_scalar_skip, ratio, states)
        config.check(feature_side)
        self.learned_shots, self.joins_base_learner = shots, bam
        self.authors_shots = self.learned_authors_shots if bam else None
        self.rates = (learning_rate, momentum, weight_decay)
        self.mamba_rates = (mamba_learning_rate, mamba_weight_decay)
        self.mamba_schedule = mamba_schedule
        self.settings = {"width": width, "bam": bam, "shots": shots, "mamba": mamba, **vars(config)}
        self.head = HMNetHead(widths(self.backbone), width, feature_side, config if mamba else None, bam, shots)

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if "head.gram_merge.weight" not in learned:
            return learned, {}
        if not self.head.ensemble:
            kept = {key: value for key, value in learned.items() if not key.startswith(ENSEMBLE)}
            return kept, {"bam": True, "shots": shots_of(learned)}
        self.check_learned_shots(learned, whose)
        return learned, {}

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        return LabelledStages(image, mask)

    def join(self, supports: Iterator[LabelledStages]) -> Iterator[LabelledStages]:  # type: ignore[override]
        return supports

    def segment(self, query: Features, support: Iterator[LabelledStages]) -> HeadOutput:
        output: Output = self.head(query, support, self.base_logits, self.own_class, with_prior=self.keeps_soft_masks)
        return HeadOutput(output.final, attention=output.prior, head=output)

    def loss(self, output: HeadOutput, target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        return self.head.losses(output.head, target.labels)

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        batches, accumulation = int(self.trainer.num_training_batches), self._accumulation()
        per_epoch = -(-batches // accumulation)
        step = self.current_epoch * per_epoch + batch_idx // accumulation + 1
        steps = (self.trainer.max_epochs or 1) * per_epoch
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        self._set_rate(optimizers[0], poly_rate(self.rates[0], step, steps))
        if len(optimizers) > 1 and self.mamba_schedule == "poly":
            self._set_rate(optimizers[1], poly_rate(self.mamba_rates[0], step, steps, factor=1))
        loss = super().training_step(batch, batch_idx)
        if batch_idx % accumulation == 0:
            for optimizer in optimizers:
                optimizer.zero_grad()
        is_last = (batch_idx + 1) % accumulation == 0 or batch_idx + 1 == batches
        with nullcontext() if is_last else keep_gradients_local(self.trainer.strategy):
            self.manual_backward(loss / accumulation)
        if not is_last:
            return loss
        with one_update(getattr(self.trainer.precision_plugin, "scaler", None)):
            for optimizer in optimizers:
                optimizer.step()
        return loss

    def _accumulation(self) -> int:
        """Return the number of a process's micro-batches in one step."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        return int(data.step_division(self.trainer.world_size).accumulation)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        rate, momentum, decay = self.rates
        groups = [list(getattr(self.head, name).parameters()) for name in MODULES if hasattr(self.head, name)]
        sgd = torch.optim.SGD([{"params": g} for g in groups], 10 * rate, momentum, weight_decay=decay)
        if self.head.mamba is None:
            return [sgd]
        mamba_rate, mamba_decay = self.mamba_rates
        return [sgd, torch.optim.AdamW(decay_groups(self.head.mamba, mamba_decay), mamba_rate)]

    @staticmethod
    def _set_rate(optimizer: LightningOptimizer | torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
