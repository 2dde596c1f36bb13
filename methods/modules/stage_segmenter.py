"""The base of methods on the last stages of a frozen network: PFENet, BAM, HMNet and HDMNet.

Shapes: B episodes, N ways, K shots, S image side, (h, w) a query's original size, c channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.outputs import Output, Target
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.frozen_pspnet import DilatedLayers, FrozenPSPNet
from fsbench.methods.modules.maps import resize_twice
from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stages import FrozenStages, frozen_features
from fsbench.networks.backbones.base import BackboneConfig


@dataclass
class HeadOutput(Output):
    """Output of a method whose losses read more than the logits that decide: all that its head gives."""

    head: Any = None


class LabelledStages(NamedTuple):
    """Features of supports (b, c, ·, ·), f3 of the masked f2, and their masks."""

    features: Features
    mask: Tensor


class StageSegmenter(Segmenter):
    """Features by image, answers at the query's size, and what an ensemble with a base learner needs.

    Attributes:
        joins_base_learner: whether the answer is an ensemble with the base learner of the backbone.
        learned_shots: K whose weights are learned; 1 for none, which serves every number of shots.
        base_classes: class numbers of the fold in training, ascending, in the order of the base learner's outputs.
    """

    sees_all_shots = True
    backbone_type: ClassVar[Any] = staticmethod(frozen_features)
    joins_base_learner = False
    learned_shots = 1
    base_classes: Sequence[int] = ()

    def __init__(self, backbone: BackboneConfig, vit_blocks: Sequence[int] | None = None):
        """Build the frozen network.

        Args:
            backbone: the network.
            vit_blocks: see `FrozenStages.vit_blocks`; None for its own.
        """
        super().__init__(backbone)
        if vit_blocks is not None and isinstance(self.backbone, FrozenStages):
            self.backbone.choose_vit_blocks(vit_blocks)

    def check_ensemble(self, base_learner: bool, width: int, shots: int, kshot_trans_dim: int) -> None:
        """Raise SettingsError for settings of a head with a base learner that do not fit the backbone or themselves."""
        if base_learner and not isinstance(self.backbone, FrozenPSPNet):
            raise SettingsError(
                f"base_learner needs a backbone with a base learner, found {self.backbone.name}; give a pspnet_*, or "
                "--model.base_learner false for the meta learner alone"
            )
        if width < 1 or shots < 1 or kshot_trans_dim < 0:
            raise SettingsError(
                f"width, shots and kshot_trans_dim are {width}, {shots} and {kshot_trans_dim}; expected 1, 1 and 0 or "
                "more"
            )

    def check_shots(self, test: int, training: int | None) -> None:
        for given, what, option in (
            (training, "data.training_shot is {}", "data.training_shot: {}"),
            (test, "the test shows {} at a time", "SHOT={} and no ensemble of single shots"),
        ):
            if self.learned_shots > 1 and given not in (None, self.learned_shots):
                raise SettingsError(
                    f"weights of {self.learned_shots} shots are learned (shots: {self.learned_shots}), but "
                    f"{what.format(given)}; give {option.format(self.learned_shots)}, or shots: 1, which serves every "
                    "number"
                )

    @property
    def learned_authors_shots(self) -> AuthorsShots:
        """The authors' rule of methods that learn weights of K shots: those numbers that the weights here are for."""
        return AuthorsShots(
            (self.learned_shots,),
            "the authors train weights of shots for each number; here the shots count alike (shots: 1)",
        )

    def check_learned_shots(self, learned: dict[str, Tensor], whose: str) -> None:
        """Raise CheckpointError where a checkpoint's `learned` weights are of another number of shots."""
        shots = shots_of(learned)
        if shots != self.learned_shots:
            raise CheckpointError(
                f"{whose} was trained with shots: {shots}; found shots: {self.learned_shots}; give --model.shots "
                f"{shots}"
            )

    def on_fit_start(self) -> None:
        self.base_classes = sorted(self.trainer.datamodule.training_pool.class_ids)  # type: ignore[attr-defined]
        if isinstance(self.backbone, FrozenPSPNet) and not self.backbone.weights_id.startswith("random"):
            known, needed = self.backbone.classes, len(self.base_classes)
            if self.joins_base_learner and known != needed:
                raise SettingsError(
                    f"the base learner of {self.backbone.weights_id} tells {known} classes apart, but the fold has "
                    f"{needed} base classes; give the one that was trained on this fold"
                )

    @property
    def own_class(self) -> Tensor | None:
        """Places (B,) of the ways' classes among the base classes, from 0, in training; None without a base learner."""
        numbers = self.context.classes
        if not self.joins_base_learner or numbers is None:
            return None
        return torch.tensor([self.base_classes.index(int(n)) for n in numbers], device=numbers.device)

    def base_targets(self, base: Tensor | None, target: Target) -> Tensor | None:
        """Return the labels of base classes (B, S, S) for the loss of the base learner's logits `base`.

        None where they are not known, or the base learner has fewer classes; one with random weights has 60.
        """
        fits = base is not None and base.shape[1] > len(self.base_classes)
        return torch.stack(list(target.base_maps)) if target.base_maps and fits else None

    def base_of(self, query: Features) -> Tensor | None:
        """Return the base learner's logits of a query; None without one."""
        return self.base_logits(query.f4) if self.joins_base_learner and query.f4 is not None else None

    def base_logits(self, f4: Tensor) -> Tensor:
        """Return the base learner's logits of f4 (B, c, ·, ·), without gradient."""
        assert isinstance(self.backbone, FrozenPSPNet)
        with torch.no_grad():
            return self.backbone.base_logits(f4, self.training)

    def answer(self, episode: EpisodeBatch) -> Prediction:
        self.check_shots(episode.support.shape[2], None)
        return super().answer(episode)

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        self.check_shots(self.learned_shots, batch.support.shape[2])
        return super().batch_loss(batch)

    def as_features(self, tensors: Any) -> Features:
        return as_features(tensors)

    def support(self, image: Features, mask: Tensor) -> LabelledStages:
        """Return features whose f3 is layer4 of the masked f2."""
        layer4 = self.backbone.last_layer if isinstance(self.backbone, DilatedLayers) else None
        return LabelledStages(masked_layer4(image, mask[:, None], layer4), mask)

    def join(self, supports: Iterator[LabelledStages]) -> LabelledStages:
        """Return features (B·K, c, ·, ·), shots fastest, and masks (B, K, S, S)."""
        shots = list(supports)
        levels = [
            torch.stack(level, 1).flatten(0, 1) for level in zip(*(known(s.features) for s in shots), strict=True)
        ]
        return LabelledStages(as_features(levels), torch.stack([shot.mask for shot in shots], 1))

    def resize(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring logits to the side of the method's images first, in half precision under autocast, as the authors."""
        return resize_twice(logits, self.context.side, size)


def check_dropout(share: float) -> None:
    """Raise SettingsError for a share of dropped channels that is not from 0 to below 1."""
    if not 0 <= share < 1:
        raise SettingsError(f"dropout is {share}, expected a share from 0 to below 1; the authors' is 0.5")


def check_rates(**values: float) -> None:
    """Raise SettingsError for a value below 0 or without end."""
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise SettingsError(f"{name} is {value}, expected 0 or more")


def shots_of(learned: dict[str, Tensor]) -> int:
    """Return the number of shots whose weights a checkpoint's `learned` weights know; 1 for none."""
    names = ("head.kshot_rw.0.weight", "head.kshot_rw.weight")
    reweight = next((learned[name] for name in names if name in learned), None)
    return 1 if reweight is None else int(reweight.shape[1])


def as_features(levels: Sequence[Tensor]) -> Features:
    """Return three or four levels as `Features`, of which the fourth may be missing."""
    return Features(levels[0], levels[1], levels[2], levels[3] if len(levels) > 3 else None)


def known(features: Features) -> tuple[Tensor, ...]:
    """Return the levels that there are: f4 only with a base learner."""
    return tuple(level for level in features if level is not None)
