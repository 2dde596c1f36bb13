"""HMNet: hybrid Mamba network for few-shot segmentation (NeurIPS 2024).

A state-space scan reads the query; before every patch of it the support is read again, so that it is not forgotten
(support recapped Mamba), and query pixels read the support's state without seeing each other (query intercepted
Mamba). A decoder follows, and an ensemble with a base learner, as in BAM. Sections are those of hmnet.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) a query's original size, c channels.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any, Literal

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy, Strategy
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Target
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.hmnet.head import HMNetHead, JoinedShots, Query, Shot
from fsbench.methods.hmnet.mamba import HybridMambaConfig
from fsbench.methods.modules.base_ensemble import EnsembleFormat, EnsembleOutput, EnsembleSegmenter
from fsbench.methods.modules.poly_rate import module_parameters, poly_rate
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import check_rates
from fsbench.methods.modules.stages import widths
from fsbench.networks.backbones.base import BackboneConfig

MODULES = (
    "down_query", "down_supp", "init_merge_query", "init_merge_supp", "ASPP_meta", "res1_meta", "res2_meta", "cls_meta",
    "gram_merge", "cls_merge", "kshot_rw",
)  # fmt: skip
"""Modules of the head that SGD trains, a parameter group each, in the authors' order."""


class HMNet(EnsembleSegmenter):
    """HMNet and its ablations: blocks of selective scans (Mamba) mix the features of query and support.

    Args:
        backbone: `pspnet_resnet50`, `pspnet_resnet101` or `pspnet_vgg16`; without a base learner also a dilated_*
            network or one with a feature pyramid.
        width: number of channels of the trained head.
        feature_side: side of the features in the head, 64 for images of 473 and 80 for 633.
        mamba: False leaves the hybrid Mamba network out (Table 3, first row).
        blocks, hybrid, srm, qim, qim_scalar_skip, ratio, states: settings of the Mamba network, explained in
            `fsbench.methods.hmnet.mamba.HybridMambaConfig`.
        bam: whether the base learner's prediction is joined (§9). False also loads checkpoints that were trained with a
            base learner, and uses their meta learner alone (§7).
        shots: 1 averages the shots' style distances, as in the paper, whatever their number K in the test. More than 1
            learns weights for so many shots, as in the authors' code, which trains a model for each K; K must then be
            the same in training and test.
        learning_rate: learning rate of SGD, which is multiplied by 10 as in the authors' program and falls to 0 (§10).
        momentum, weight_decay: momentum and weight decay of SGD.
        mamba_learning_rate: learning rate of AdamW for the Mamba network.
        mamba_weight_decay: weight decay of AdamW.
        mamba_schedule: AdamW's learning rate is "constant", as in the authors' code, or falls polynomially ("poly")
            like SGD's.
    """

    automatic_optimization = False  # two optimisers step together
    keeps_states = True  # half of the Mamba network's work is on the support alone
    attention_meaning = (
        "prior: similarity of deep features to the supports' foreground, from 0 to 1 within the image, mean over shots"
    )
    released_format = EnsembleFormat("module.", own="init_merge_query.0.weight")
    option = "bam"

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
        super().__init__(backbone, bam, shots)
        if width < 4:
            raise SettingsError(f"width is {width}, expected 4 or more")
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
        self.rates = (learning_rate, momentum, weight_decay)
        self.mamba_rates = (mamba_learning_rate, mamba_weight_decay)
        self.mamba_schedule = mamba_schedule
        self.settings = {"width": width, "bam": bam, "shots": shots, "mamba": mamba, **vars(config)}
        self.head = HMNetHead(widths(self.backbone), width, feature_side, config if mamba else None, bam, shots)

    def query(self, image: Features) -> Query:  # type: ignore[override]
        return self.head.read_query(image)

    def support(self, image: Features, mask: Tensor) -> Shot | JoinedShots:  # type: ignore[override]
        """Return the state of B supports with masks (B, S, S).

        A way's only support is joined at once, so that the joined state is kept.
        """
        shot = self.head.read_shot(image, mask)
        return self.head.join_shots([shot]) if self.context.shots == 1 else shot

    def join(self, supports: Iterator[Any]) -> JoinedShots:  # type: ignore[override]
        first = next(supports)
        return first if isinstance(first, JoinedShots) else self.head.join_shots(chain([first], supports))

    def segment(self, query: Query, support: JoinedShots) -> EnsembleOutput:
        found: EnsembleOutput = self.head.segment(
            query, support, self.base_logits, self.own_class, with_prior=self.keeps_soft_masks
        )
        return found

    def loss(self, output: EnsembleOutput, target: Target) -> dict[str, Tensor]:  # type: ignore[override]
        return self.head.losses(output, target.labels)

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
        groups = [{"params": parameters} for parameters in module_parameters(self.head, MODULES)]
        sgd = torch.optim.SGD(groups, 10 * rate, momentum, weight_decay=decay)
        if self.head.mamba is None:
            return [sgd]
        mamba_rate, mamba_decay = self.mamba_rates
        return [sgd, torch.optim.AdamW(decay_groups(self.head.mamba, mamba_decay), mamba_rate)]

    @staticmethod
    def _set_rate(optimizer: LightningOptimizer | torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate


def decay_groups(mamba: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's two parameter groups: parameters with "norm" in their name have no weight decay, all others do.

    The layer norms `ln_1` and `ln_2` lack "norm" in their names, so they are decayed.
    """
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": d} for d in (weight_decay, 0.0)]
    for name, parameter in mamba.named_parameters():
        groups["norm" in name]["params"].append(parameter)
    return groups


def keep_gradients_local(strategy: Strategy) -> AbstractContextManager[Any]:
    """Return a context in which processes do not exchange gradients, for all micro-batches of a step but the last."""
    return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()


@contextmanager
def one_update(scaler: torch.amp.GradScaler | None) -> Iterator[None]:
    """Update the fp16 gradient scale once, at the end of a `with` block in which several optimisers make a step.

    Lightning updates the scale after each optimiser's step. The next optimiser's gradients would then be divided by
    another scale than they were multiplied by.
    """
    if scaler is None:
        yield
        return
    vars(scaler)["update"] = lambda: None
    try:
        yield
    finally:
        del vars(scaler)["update"]
    scaler.update()
