"""HMNet: hybrid Mamba network for few-shot segmentation (NeurIPS 2024).

A state-space scan reads the query; before every patch of it the support is read again, so that it is not forgotten
(support recapped Mamba), and query pixels read the support's state without seeing each other (query intercepted
Mamba). A decoder follows, and an ensemble with a base learner, as in BAM. Sections are those of hmnet.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) the map that is asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from fsbench.backbones import BackboneConfig
from fsbench.checkpoints import AuthorsForm
from fsbench.ensembles import label_map
from fsbench.episodes import EpisodeBatch
from fsbench.errors import CheckpointError, SettingsError
from methods._hmnet_features import frozen_features, widths
from methods._hmnet_head import HMNetHead, Output
from methods._hmnet_memory import memory_curves
from methods._mamba import Mixing, resize
from methods._pspnet import FROZEN, Features, FrozenPSPNet
from methods.base import FewShotMethod, Prediction

MODULES = (
    "down_query", "down_supp", "init_merge_query", "init_merge_supp", "ASPP_meta", "res1_meta", "res2_meta", "cls_meta",
    "gram_merge", "cls_merge", "kshot_rw",
)  # fmt: skip
"""What SGD trains, a group each, in the authors' order (§10)."""

ENSEMBLE = ("head.gram_merge.", "head.cls_merge.", "head.kshot_rw.")
"""What names of weights begin with that only `bam` has."""


def poly_rate(base: float, step: int, steps: int, factor: float = 10, power: float = 0.9) -> float:
    """Learning rate of SGD at step 1..`steps`: the authors' rule multiplies all groups by ten (§10)."""
    return factor * base * (1 - step / steps) ** power


def decay_groups(mamba: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: no decay for names that hold "norm", which `ln_1` and `ln_2` do not (§10)."""
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": d} for d in (weight_decay, 0.0)]
    for name, parameter in mamba.named_parameters():
        groups["norm" in name]["params"].append(parameter)
    return groups


@contextmanager
def one_update(scaler: torch.amp.GradScaler | None) -> Iterator[None]:
    """Of several optimisers' steps in fp16: Lightning updates the scale of gradients after each, and would divide the
    next one's gradients by another scale than they have."""
    if scaler is None:
        yield
        return
    vars(scaler)["update"] = lambda: None
    try:
        yield
    finally:
        del vars(scaler)["update"]
    scaler.update()


@dataclass(frozen=True)
class HMNetForm(AuthorsForm):
    """Authors' checkpoints hold the whole PSPNet beside what was trained, without a prefix of its own (§12)."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {key.removeprefix(self.wrapper): value for key, value in state.items()}
        if "layer0.0.weight" not in plain or "init_merge_query.0.weight" not in plain:
            return None
        learned = {f"head.{key}": value for key, value in plain.items() if not key.startswith(FROZEN)}
        return learned, {key: value for key, value in plain.items() if key.startswith(FROZEN)}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        state = backbone | {key.removeprefix("head."): value for key, value in learned.items()}
        return {"state_dict": {self.wrapper + key: value for key, value in state.items()}}


class HMNet(FewShotMethod):
    """HMNet and its ablations.

    Args:
        backbone: `pspnet_resnet50` or `pspnet_vgg16`; without a base learner also `dilated_resnet50`, `dilated_vgg16`
            or a pyramid.
        width: C.
        feature_side: side of the features in the head, 64 for images of 473 and 80 for 633.
        mamba: False leaves the hybrid Mamba network out (Table 3's first row).
        blocks, hybrid, srm, qim, qim_scalar_skip, ratio, states: see `methods._mamba.Mixing`.
        bam: join the base learner's opinion (§9). False takes checkpoints that were trained with it as well and reads
            their meta learner alone (§7, the evaluation-only variant).
        shots: 1 averages the shots' style distances, as the paper says, whatever K is tested: the default, since one
            training then serves every K. With more, weights of so many shots are learned, as in the authors' code,
            which trains a model for each K; K must be the same in training and test.
        learning_rate: of SGD before the factor 10 of the authors' rule (§10); it falls to 0.
        momentum, weight_decay: of SGD.
        mamba_learning_rate: of AdamW for the hybrid Mamba network, constant.
        mamba_weight_decay: of AdamW.
        mamba_schedule: "constant" as the authors', "poly" falls like SGD's.
    """

    automatic_optimization = False  # two optimisers step together
    sees_all_shots = True
    backbone_type: ClassVar[Any] = staticmethod(frozen_features)
    authors_form = HMNetForm("module.")

    def __init__(
        self,
        backbone: BackboneConfig,
        width: int = 256,
        feature_side: int = 64,
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
        learning_rate: float = 5e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        mamba_learning_rate: float = 6e-5,
        mamba_weight_decay: float = 0.01,
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
        for option, value in rates.items():
            if not 0 <= value < float("inf"):
                raise SettingsError(f"{option} is {value}, expected 0 or more")
        mixing = Mixing(blocks, hybrid, srm, qim, qim_scalar_skip, ratio, states)
        mixing.check(feature_side)
        self.shots = shots
        self.rates = (learning_rate, momentum, weight_decay)
        self.mamba_rates = (mamba_learning_rate, mamba_weight_decay)
        self.mamba_schedule = mamba_schedule
        self.settings = {"width": width, "bam": bam, "shots": shots, "mamba": mamba, **vars(mixing)}
        self.head = HMNetHead(widths(self.backbone), width, feature_side, mixing if mamba else None, bam, shots)
        self.base_classes: list[int] = []
        """Class numbers of the fold in training, ascending: the base learner's outputs."""

    @property
    def segments_only(self) -> bool:
        return True

    def check_shots(self, test: int, training: int | None) -> None:
        for found, what, option in (
            (training, "data.training_shot is {}", "data.training_shot: {}"),
            (test, "the test shows {} at a time", "SHOT={} and no ensemble of single shots"),
        ):
            if self.shots > 1 and found not in (None, self.shots):
                raise SettingsError(
                    f"weights of {self.shots} shots are learned (shots: {self.shots}), but {what.format(found)}; give "
                    f"{option.format(self.shots)}, or shots: 1, which serves every number"
                )

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def select_learned(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if "head.gram_merge.weight" not in learned:
            return learned, {}
        reweight = learned.get("head.kshot_rw.0.weight")
        shots = 1 if reweight is None else reweight.shape[1]
        if not self.head.ensemble:
            kept = {key: value for key, value in learned.items() if not key.startswith(ENSEMBLE)}
            return kept, {"bam": True, "shots": shots}
        if shots != self.shots:
            raise CheckpointError(
                f"{whose} was trained with shots: {shots}; found shots: {self.shots}; give --model.shots {shots}"
            )
        return learned, {}

    def forward(self, episode: EpisodeBatch) -> Prediction:
        query = self._features(episode, [int(episode.query[0])])
        labels = episode.support_labels[0]
        self.check_shots(labels.shape[1], None)
        outputs = []
        for way, rows in enumerate(episode.support[0]):
            support = self._features(episode, rows.tolist())
            outputs.append(self.head(query, support, labels[way, None], self._base_logits).final)
        height, width = episode.query_sizes[0].tolist()
        final = resize(torch.cat(outputs).float(), episode.images.shape[-1])
        final = F.interpolate(final, (height, width), mode="bilinear", align_corners=True)
        return Prediction(label_map(final.softmax(1)[:, 1], final[:, 1] > final[:, 0]), logits=final)

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        truth = batch.known_truth()
        self.check_shots(self.shots, batch.support.shape[2])
        query = self._features(batch, batch.query.tolist())
        support = self._features(batch, batch.support[:, 0].flatten().tolist())
        output: Output = self.head(
            query, support, batch.support_labels[:, 0], self._base_logits, self._own_class(truth.classes[:, 0])
        )
        return self.head.losses(output, torch.stack(truth.label_maps))

    def memory_of(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Curves of a 1-way episode: similarity of the scan's state to the support, see `memory_curves`."""
        if self.head.mamba is None:
            raise SettingsError("this HMNet has no Mamba network, so there is no state to look at")
        if self.settings["srm"] == "off" or not any(b.self_attention.hybrid for b in self.head.mamba.blocks):
            raise SettingsError(
                "the query's scan of this HMNet reads no support, so there is nothing to remember; expected srm recap "
                "or basic, hybrid: true and 2 blocks or more"
            )
        query = self._features(episode, [int(episode.query[0])])
        support = self._features(episode, episode.support[0, 0].tolist())
        with torch.no_grad():
            return memory_curves(self.head.mamba, *self.head.inputs(query, support, episode.support_labels[0, :1]))

    def on_fit_start(self) -> None:
        self.base_classes = sorted(self.trainer.datamodule.training_pool.class_ids)  # type: ignore[attr-defined]
        if isinstance(self.backbone, FrozenPSPNet) and not self.backbone.weights_id.startswith("random"):
            known, needed = self.backbone.classes, len(self.base_classes)
            if self.head.ensemble and known != needed:
                raise SettingsError(
                    f"the base learner of {self.backbone.weights_id} tells {known} classes apart, but the fold has "
                    f"{needed} base classes; give the one that was trained on this fold"
                )

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> Tensor:
        per_epoch = int(self.trainer.num_training_batches)
        step, steps = self.current_epoch * per_epoch + batch_idx + 1, (self.trainer.max_epochs or 1) * per_epoch
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        self._set_rate(optimizers[0], poly_rate(self.rates[0], step, steps))
        if len(optimizers) > 1 and self.mamba_schedule == "poly":
            self._set_rate(optimizers[1], poly_rate(self.mamba_rates[0], step, steps, factor=1))
        loss = super().training_step(batch, batch_idx)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        with one_update(getattr(self.trainer.precision_plugin, "scaler", None)):
            for optimizer in optimizers:
                optimizer.step()
        return loss

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

    def _own_class(self, numbers: Tensor) -> Tensor | None:
        """Class numbers (B,) -> places among the base classes, from 0."""
        if not self.head.ensemble:
            return None
        return torch.tensor([self.base_classes.index(int(n)) for n in numbers], device=numbers.device)

    def _base_logits(self, f4: Tensor) -> Tensor:
        assert isinstance(self.backbone, FrozenPSPNet)
        with torch.no_grad():
            return self.backbone.base_logits(f4, self.training)

    def _features(self, episode: EpisodeBatch, rows: list[int]) -> Features:
        """Features of images `rows`, stacked (rows, c, ·, ·); kept for when an image comes again."""
        found = []
        for row in rows:

            def compute(row: int = row) -> tuple[Tensor, ...]:
                return tuple(f for f in self.backbone.encode(episode.pixels(row)) if f is not None)

            found.append(self.backbone.cache.get("features", episode.image_names[row], compute))
        stacked = [torch.stack(level) for level in zip(*found, strict=True)]
        return Features(stacked[0], stacked[1], stacked[2], stacked[3] if len(stacked) > 3 else None)
