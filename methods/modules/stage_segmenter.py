"""The base of methods on the last stages of a frozen network: PFENet, BAM, HMNet and HDMNet.

Shapes: B episodes, N ways, K shots, S image side, (h, w) a query's original size, c channels.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, QueryPart, margin_of_ways
from fsbench.core.segmenter import Segmenter
from fsbench.core.shot_ensemble import label_map
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.methods.modules.frozen_pspnet import DilatedLayers, FrozenPSPNet
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stages import FrozenStages, frozen_features
from fsbench.networks.backbones.base import BackboneConfig


class StageSegmenter(Segmenter):
    """Features by image, answers at the query's size, and what an ensemble with a base learner needs.

    Attributes:
        joins_base_learner: whether the answer is an ensemble with the base learner of the backbone.
        shots: K whose weights are learned; 1 for none, which serves every number of shots.
        base_classes: class numbers of the fold in training, ascending, in the order of the base learner's outputs.
    """

    sees_all_shots = True
    backbone_type: ClassVar[Any] = staticmethod(frozen_features)
    joins_base_learner = False
    shots = 1
    base_classes: Sequence[int] = ()

    @property
    def predicts_presence(self) -> bool:
        return False

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
            if self.shots > 1 and given not in (None, self.shots):
                raise SettingsError(
                    f"weights of {self.shots} shots are learned (shots: {self.shots}), but {what.format(given)}; give "
                    f"{option.format(self.shots)}, or shots: 1, which serves every number"
                )

    @property
    def learned_authors_shots(self) -> AuthorsShots:
        """The authors' rule of methods that learn weights of K shots: those numbers that the weights here are for."""
        return AuthorsShots(
            (self.shots,),
            "the authors train weights of shots for each number; here the shots count alike (shots: 1)",
        )

    def check_learned_shots(self, learned: dict[str, Tensor], whose: str) -> None:
        """Raise CheckpointError where a checkpoint's `learned` weights are of another number of shots."""
        shots = shots_of(learned)
        if shots != self.shots:
            raise CheckpointError(
                f"{whose} was trained with shots: {shots}; found shots: {self.shots}; give --model.shots {shots}"
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

    def own_class(self, numbers: Tensor) -> Tensor | None:
        """Return the places of class numbers (B,) among the base classes, from 0; None without a base learner."""
        if not self.joins_base_learner:
            return None
        return torch.tensor([self.base_classes.index(int(n)) for n in numbers], device=numbers.device)

    def base_targets(self, base: Tensor | None, truth: Truth) -> Tensor | None:
        """Return the labels of base classes (B, S, S) for the loss of the base learner's logits `base`.

        None where they are not known, or the base learner has fewer classes; one with random weights has 60.
        """
        fits = base is not None and base.shape[1] > len(self.base_classes)
        return torch.stack(truth.base_maps) if truth.base_maps and fits else None

    def base_logits(self, f4: Tensor) -> Tensor:
        """Return the base learner's logits of f4 (B, c, ·, ·), without gradient."""
        assert isinstance(self.backbone, FrozenPSPNet)
        with torch.no_grad():
            return self.backbone.base_logits(f4, self.training)

    def stages(self, episode: EpisodeBatch, rows: list[int]) -> Features:
        """Return the features of images `rows`, stacked (rows, c, ·, ·); cached by image."""
        pyramids = []
        for row in rows:

            def compute(row: int = row) -> tuple[Tensor, ...]:
                return tuple(f for f in self.encode(episode, row) if f is not None)

            pyramids.append(self.backbone.cache.get("features", episode.image_names[row], compute))
        stacked = [torch.stack(level) for level in zip(*pyramids, strict=True)]
        return as_features(stacked)

    def query_part(self, episode: EpisodeBatch) -> "StageQuery":
        self.check_shots(episode.support.shape[2], None)
        ways = [
            self.support_stages(episode, rows.tolist(), episode.support_labels[0, way, None])
            for way, rows in enumerate(episode.support[0])
        ]
        pixels = episode.pixels(int(episode.support[0, 0, 0]))
        return StageQuery(self, pixels, ways, episode.support_labels[0])

    def support_stages(self, episode: EpisodeBatch, rows: list[int], labels: Tensor) -> Features:
        """Return the features (K, c, ·, ·) of a way's supports as `segment_way` takes them; labels (1, K, S, S)."""
        raise NotImplementedError

    def query_stages(self, pixels: Tensor) -> Features:
        """Return the features (1, c, ·, ·) of a query's pixels (3, S, S)."""
        return as_features([level[None] for level in self.backbone.encode(pixels) if level is not None])

    def segment_way(self, query: Features, support: Features, labels: Tensor) -> Tensor:
        """Return the head's outputs (1, 2, ·, ·) that decide about a way.

        Args:
            query: features (1, c, ·, ·).
            support: features (K, c, ·, ·).
            labels: (1, K, S, S).
        """
        raise NotImplementedError

    def masked_stages(self, episode: EpisodeBatch, rows: list[int], labels: Tensor) -> Features:
        """Return the features of supports `rows` with f3 of the masked f2; labels (b, K, S, S), shots fastest."""
        layer4 = self.backbone.last_layer if isinstance(self.backbone, DilatedLayers) else None
        return masked_layer4(self.stages(episode, rows), labels, layer4)


def check_dropout(share: float) -> None:
    """Raise SettingsError for a share of dropped channels that is not from 0 to below 1."""
    if not 0 <= share < 1:
        raise SettingsError(f"dropout is {share}, expected a share from 0 to below 1; the authors' is 0.5")


def check_rates(**values: float) -> None:
    """Raise SettingsError for a value below 0 or without end."""
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise SettingsError(f"{name} is {value}, expected 0 or more")


def as_prediction(outputs: Tensor, episode: EpisodeBatch, attention: Tensor | None) -> Prediction:
    """Return the answer to one episode.

    Args:
        outputs: what decides between background and foreground of each way (N, 2, ·, ·).
        episode: the episode.
        attention: see `Prediction.attention`.
    """
    height, width = episode.query_sizes[0].tolist()
    final, found = label_ways(outputs, episode.images.shape[-1], (height, width))
    return Prediction(found, logits=final, attention=attention)


def label_ways(outputs: Tensor, side: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return outputs at a query's size (N, 2, h, w), and its label map (h, w).

    Args:
        outputs: what decides between background and foreground of each way (N, 2, ·, ·).
        side: of the method's images, to which they are brought first.
        size: (h, w).
    """
    final = resize(outputs, side)  # in half precision under autocast, as the authors
    final = F.interpolate(final, size, mode="bilinear", align_corners=True).float()
    return final, label_map(final.softmax(1)[:, 1], final[:, 1] > final[:, 0])


def shots_of(learned: dict[str, Tensor]) -> int:
    """Return the number of shots whose weights a checkpoint's `learned` weights know; 1 for none."""
    names = ("head.kshot_rw.0.weight", "head.kshot_rw.weight")
    reweight = next((learned[name] for name in names if name in learned), None)
    return 1 if reweight is None else int(reweight.shape[1])


class StageQuery(QueryPart):
    """A method on the last stages of a network with the features of its supports.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        supports: features (K, c, ·, ·) of each way's supports.
        labels: of the supports (N, K, S, S).
    """

    method: StageSegmenter
    labels: Tensor

    def __init__(self, method: StageSegmenter, pixels: Tensor, supports: Sequence[Features], labels: Tensor):
        super().__init__(method.backbone.network(pixels))
        self.method = method
        self.register_buffer("labels", labels)
        for way, levels in enumerate(supports):
            self.keep(f"way{way}", [level for level in levels if level is not None])

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        query = self.method.query_stages(pixels)
        outputs = [
            self.method.segment_way(query, as_features(self.kept(f"way{way}")), labels[None])
            for way, labels in enumerate(self.labels)
        ]
        final, found = label_ways(torch.cat(outputs), pixels.shape[-1], size)
        return Decision(found, margin_of_ways(final.softmax(1)[:, 1]))


def as_features(levels: Sequence[Tensor]) -> Features:
    """Return three or four levels as `Features`, of which the fourth may be missing."""
    return Features(levels[0], levels[1], levels[2], levels[3] if len(levels) > 3 else None)
