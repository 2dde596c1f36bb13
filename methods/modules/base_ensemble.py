"""BAM's ensemble of a meta learner with a base learner, which HMNet and HDMNet have as well (bam.md §4, §6).

A frozen PSPNet says where base classes are, which is no foreground. How far the meta learner is believed follows from
how alike query and supports are in style.

Shapes: b samples, K shots, n base classes, c channels, (h, w) a map, S image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.outputs import Output, Target
from fsbench.core.prediction import Prediction
from fsbench.core.released_format import ReleasedFormat
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.maps import resize, widened
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.pspnet_weights import FROZEN, renamed, to_hmnet_names
from fsbench.methods.modules.stage_segmenter import StageSegmenter
from fsbench.networks.backbones.base import BackboneConfig


@dataclass(kw_only=True)
class EnsembleOutput(Output):
    """Output of a head that joins a meta learner (few-shot) with a base learner (base classes), for b queries.

    `logits` (b, 2, h, w) are those of the ensemble or, without base learner, of the meta learner.

    Attributes:
        meta: (b, 2, h, w), logits of the meta learner.
        base: (b, n + 1, h, w), logits of the base learner for background and n base classes; None without a base
            learner.
    """

    meta: Tensor
    base: Tensor | None = None


# Layers of the head ---------------------------------------------------------------------------------------------------


def merge_layer() -> nn.Conv2d:
    """Build the 1x1 convolution that mixes two maps into one; its first weights pass only the first map."""
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    return conv


def reweight_network(shots: int, width: int) -> nn.Module:
    """Build the network that turns sorted distances (b, K, 1, 1) into shot weights before the softmax.

    Args:
        shots: K, number of shots.
        width: number of hidden channels; 0 builds a single layer that starts as the mean.
    """
    if width:
        return nn.Sequential(nn.Conv2d(shots, width, 1), nn.ReLU(), nn.Conv2d(width, shots, 1))
    conv = nn.Conv2d(shots, shots, 1, bias=False)
    nn.init.constant_(conv.weight, 1 / shots)
    return conv


def gram(x: Tensor) -> Tensor:
    """Return the Gram matrices of features (b, c, h, w): cosines between channels (b, c, c), in fp32 or wider."""
    flat = widened(x).flatten(2)
    norm = flat.norm(dim=2)
    return flat @ flat.mT / (norm[:, :, None] * norm[:, None] + 1e-7)


def gram_distance(query: Tensor, support: Tensor) -> Tensor:
    """Return the distance (b, K, 1, 1) of each shot's Gram matrix from the query's, the "style distance".

    `query` is (b, c, c), `support` (b, K, c, c).
    """
    return ((query[:, None] - support).norm(dim=(2, 3)) / query.shape[1])[..., None, None]


def shot_weights(distances: Tensor, reweight: nn.Module, sorted_order: bool) -> Tensor:
    """Return learned weights (b, K, 1, 1) of the shots from their sorted distances.

    Args:
        distances: style distance of each shot from the query (b, K, 1, 1).
        reweight: network from sorted distances to weights before the softmax.
        sorted_order: return the weights in the order of the sorted distances, as HMNet's authors do by mistake
            (hmnet.md §9.2); otherwise each shot gets the weight of its own distance (bam.md §4).
    """
    values, order = distances.sort(stable=True, dim=1)
    weights: Tensor = reweight(values).softmax(1)
    return weights if sorted_order else torch.zeros_like(weights).scatter(1, order, weights)


def style_distance(head: nn.Module, distances: Tensor) -> Tensor:
    """Average the style distances (b, K, 1, 1) of all shots to (b, 1, 1, 1) (hmnet.md §9.2).

    The weights come from the head's network `kshot_rw`; without it, shots have equal weights.
    """
    reweight: Any = getattr(head, "kshot_rw", None)
    if reweight is None:
        return distances.mean(1, keepdim=True)
    with torch.autocast(distances.device.type, enabled=False):
        return (shot_weights(distances, reweight, sorted_order=True) * distances).sum(1, keepdim=True)


def base_map(logits: Tensor, own_class: Tensor | None) -> Tensor:
    """Return the probability (b, 1, h, w) that a pixel shows a base class other than the episode's own.

    Args:
        logits: logits of background and base classes (b, n + 1, h, w).
        own_class: (b,) index of each episode's class among the base classes, from 0, in training; else None.
    """
    probability = widened(logits).softmax(1)
    total = probability[:, 1:].sum(1, keepdim=True)
    if own_class is None:
        return total
    own = probability[torch.arange(len(probability)), own_class + 1]
    return total - own[:, None]


def join(head: nn.Module, meta: Tensor, distance: Tensor, base: Tensor) -> Tensor:
    """Join the predictions of meta and base learner to scores (b, 2, h, w) of background and foreground.

    The scores are not normalised to probabilities.

    Args:
        head: module with the trained layers "gram_merge" and "cls_merge", each from `merge_layer`.
        meta: logits of the meta learner (b, 2, h, w).
        distance: style distance of supports and query (b, 1, 1, 1).
        base: probability of other base classes (b, 1, h, w), from `base_map`.
    """
    merge: Any = head
    distance = distance.expand_as(base)
    probability = widened(meta).softmax(1)
    background, foreground = (merge.gram_merge(torch.cat([m, distance], 1)) for m in probability.split(1, 1))
    return torch.cat([merge.cls_merge(torch.cat([background, base], 1)), foreground], 1)


def ensemble_losses(
    output: EnsembleOutput, target: Tensor, base_target: Tensor | None = None, meta_weight: float = 1.0
) -> dict[str, Tensor]:
    """Return the cross-entropies of a head's output against targets (b, S, S) with void 255 (bam.md §6.1).

    Returns:
        Scalars "loss", which is to be minimised, and for an ensemble its terms "main" (ensemble) and "meta" (meta
        learner). With base targets there is also "base", the cross-entropy of the frozen base learner, for information
        only.

    Args:
        output: the output of the head.
        target: 0 background, 1 the episode's class.
        base_target: 0 background, 1..n base classes; None if they are not known.
        meta_weight: factor of the meta learner's loss.
    """

    def entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(widened(resize(logits, target.shape[-1])), labels.long(), ignore_index=VOID)

    main = entropy(output.logits, target)
    if output.base is None:
        return {"loss": main}
    own = entropy(output.meta, target)
    losses = {"loss": main + meta_weight * own, "main": main, "meta": own}
    if base_target is not None:
        losses["base"] = entropy(output.base, base_target).detach()
    return losses


# The method -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EnsembleFormat(ReleasedFormat):
    """Layout of the authors' checkpoints, which hold the whole PSPNet beside the trained weights (bam.md §7).

    Attributes:
        own: name of a weight that only this method's checkpoints have, by which they are recognised.
        names: pairs (beginning of a weight's name in the authors' checkpoints, its beginning in fsbench).
    """

    own: str = ""
    names: Sequence[tuple[str, str]] = ()

    def from_authors(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights from the authors' names, without wrapper prefix, to those of fsbench's head and `PSPNet`."""
        return {renamed(key, self.names): value for key, value in state.items()}

    def to_authors(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of fsbench's head and `PSPNet` to the names in the authors' checkpoints."""
        back = [(ours, theirs) for theirs, ours in self.names]
        return {renamed(key, back): value for key, value in state.items()}

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {key.removeprefix(self.wrapper): value for key, value in state.items()}
        if not {"layer0.0.weight", self.own} <= plain.keys():
            return None
        plain = self.from_authors(plain)
        frozen = {key: value for key, value in plain.items() if key.startswith(FROZEN)}
        return {f"head.{key}": value for key, value in plain.items() if key not in frozen}, frozen

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        state = to_hmnet_names(backbone) | {key.removeprefix("head."): value for key, value in learned.items()}
        return {"state_dict": {self.wrapper + key: value for key, value in self.to_authors(state).items()}}


class EnsembleSegmenter(StageSegmenter):
    """Base of methods that may join a base learner (base classes) to their own prediction.

    Subclasses set `head`, the trained layers, and `settings`, the settings on which checkpoints depend.

    Attributes:
        joins_base_learner: whether the prediction is an ensemble with the backbone's base learner.
        option: name of the method's setting that switches the base learner on.
        ensemble_parts: beginnings of the names of weights that exist only with a base learner.
        learned_shots: number of shots for which weights are learned; 1 if none are learned, so that any number of shots
            can be tested.
        base_classes: class numbers of the fold in training, ascending, in the order of the base learner's outputs.
    """

    option: ClassVar[str] = "base_learner"
    ensemble_parts: ClassVar[tuple[str, ...]] = ("head.gram_merge.", "head.cls_merge.", "head.kshot_rw.")
    settings: dict[str, Any]
    base_classes: Sequence[int] = ()

    def __init__(self, backbone: BackboneConfig, base_learner: bool, shots: int, **sizes: int):
        """Build the frozen network.

        Args:
            backbone: the network.
            base_learner: see `joins_base_learner`.
            shots: see `learned_shots`.
            sizes: settings of the head that are to be 0 or more, "width" 1 or more.

        Raises:
            SettingsError: settings do not fit the backbone or are too small.
        """
        super().__init__(backbone)
        if base_learner and not isinstance(self.backbone, FrozenPSPNet):
            raise SettingsError(
                f"{self.option} needs a backbone with a base learner, found {self.backbone.name}; give a pspnet_*, or "
                f"--model.{self.option} false for the meta learner alone"
            )
        for name, value in {"shots": shots, **sizes}.items():
            least = int(name in ("shots", "width"))
            if value < least:
                raise SettingsError(f"{name} is {value}, expected {least} or more")
        self.joins_base_learner, self.learned_shots = base_learner, shots
        if base_learner or "head.kshot_rw." not in self.ensemble_parts:
            self.authors_shots = AuthorsShots(
                (shots,),
                "for each number the authors train weights of the shots; here all shots weigh alike (shots: 1)",
            )

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        names = ("head.kshot_rw.0.weight", "head.kshot_rw.weight")
        shots = next((learned[name].shape[1] for name in names if name in learned), 1)
        weighed = self.joins_base_learner or "head.kshot_rw." not in self.ensemble_parts
        if weighed and shots != self.learned_shots:
            raise CheckpointError(
                f"{whose} was trained with shots: {shots}; found shots: {self.learned_shots}; give --model.shots "
                f"{shots}"
            )
        if self.joins_base_learner or "head.gram_merge.weight" not in learned:
            return learned, {}
        kept = {key: value for key, value in learned.items() if not key.startswith(self.ensemble_parts)}
        return kept, {self.option: True} | ({} if weighed else {"shots": shots})

    def check_shots(self, test: int, training: int | None) -> None:
        for given, what, option in (
            (training, "data.training.training_shot is {}", "data.training.training_shot: {}"),
            (test, "the test shows {} at a time", "--shot {} and no ensemble of single shots"),
        ):
            if self.learned_shots > 1 and given not in (None, self.learned_shots):
                raise SettingsError(
                    f"weights of {self.learned_shots} shots are learned (shots: {self.learned_shots}), but "
                    f"{what.format(given)}; give {option.format(self.learned_shots)}, or shots: 1, which serves every "
                    "number"
                )

    def on_fit_start(self) -> None:
        self.base_classes = sorted(self.trainer.datamodule.training_pool.class_ids)  # type: ignore[attr-defined]
        if not self.joins_base_learner:
            return
        assert isinstance(self.backbone, FrozenPSPNet)
        known, needed = self.backbone.classes, len(self.base_classes)
        if known != needed and not self.backbone.weights_id.startswith("random"):
            raise SettingsError(
                f"the base learner of {self.backbone.weights_id} tells {known} classes apart, but the fold has "
                f"{needed} base classes; give the one that was trained on this fold"
            )

    @property
    def own_class(self) -> Tensor | None:
        """Index (B,) of each episode's class among the base classes, in training with a base learner; else None."""
        numbers = self.context.classes
        if not self.joins_base_learner or numbers is None:
            return None
        return torch.tensor([self.base_classes.index(int(n)) for n in numbers], device=numbers.device)

    def base_targets(self, base: Tensor | None, target: Target) -> Tensor | None:
        """Return the label maps (B, S, S) of base classes, by which the base learner's logits are judged.

        None if the labels are not known, there are no logits `base`, or these have too few classes.
        """
        fits = base is not None and base.shape[1] > len(self.base_classes)
        return torch.stack(list(target.base_maps)) if target.base_maps and fits else None

    def base_logits(self, f4: Tensor) -> Tensor:
        """Return the base learner's logits (B, n + 1, ·, ·) for features f4 (B, c, ·, ·), without gradient."""
        assert isinstance(self.backbone, FrozenPSPNet)
        with torch.no_grad():
            return self.backbone.base_logits(f4, self.training)

    def query(self, image: Features) -> tuple[Features, Tensor | None]:
        """Return a query's features with the base learner's logits; None in their place without a base learner."""
        return image, self.base_logits(image.f4) if self.joins_base_learner and image.f4 is not None else None

    def answer(self, episode: EpisodeBatch) -> Prediction:
        self.check_shots(episode.support.shape[2], None)
        return super().answer(episode)

    def batch_loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        self.check_shots(self.learned_shots, batch.support.shape[2])
        return super().batch_loss(batch)
