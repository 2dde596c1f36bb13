"""HDMNet: hierarchically decoupled matching network (CVPR 2023).

Query and supports, whose backgrounds are blacked out, go through a transformer by themselves and are matched at three
sizes, where each support pixel is shared out among the query's. Matching maps learn from the label and, from coarse to
fine, from each other. An ensemble with a base learner follows, as in BAM. Sections are those of hdmnet.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) the map of layer3, c channels, n base classes.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.prediction import Prediction
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.hdmnet.head import HDMNetHead, Output
from fsbench.methods.hdmnet.optimization import poly_adamw
from fsbench.methods.hdmnet.transformer import HEADS
from fsbench.methods.hdmnet.weights import ENSEMBLE, HDMNetReleasedFormat
from fsbench.methods.modules.pspnet import Features
from fsbench.methods.modules.stage_segmenter import StageSegmenter, as_prediction, check_dropout, check_rates, shots_of
from fsbench.methods.modules.stages import widths
from fsbench.networks.backbones.base import BackboneConfig


class HDMNet(StageSegmenter):
    """HDMNet.

    Args:
        backbone: `pspnet_resnet50`, `pspnet_resnet101` or `pspnet_vgg16`; without a base learner also a dilated_* or a
            pyramid.
        width: channels of the reduced features (§2).
        transformer_width: channels of the transformer, a multiple of 8 (§4).
        base_learner: join the base learner's prediction (§5). False is the meta learner alone, also of a checkpoint
            that was trained with both.
        shots: more than 1 weighs the style distances of that many shots as the authors' program does, which trains a
            model for each K and leaves these weights at the random values that they begin with (§7); K must then be
            the same in training and test. 1 averages the distances, whatever K is tested.
        kshot_trans_dim: hidden channels of the network of these weights; 0 is one layer, which begins as the mean.
        low_fea: layer whose styles are compared (§2).
        dropout: share of the reduced features' channels that are dropped in training (§2).
        vit_blocks: blocks of the demo's ViT that stand for layers 2, 3 and 4. Features near its end tell the base
            classes apart, and the head learns these by heart instead of comparing.
        meta_weight, distillation_weight: factors of the meta learner's own loss and of the distillation (§6).
        learning_rate: rate of AdamW for the transformer, which falls to 0; the layers around it have ten times that.
        weight_decay: of AdamW, for all weights.
    """

    attention_meaning = (
        "similarity: largest cosine of deep features with one of the support's foreground, from 0 to 1, mean over shots"
    )
    released_format = HDMNetReleasedFormat("module.")

    def __init__(
        self,
        backbone: BackboneConfig,
        width: int = 256,  # §2
        transformer_width: int = 64,  # §4
        base_learner: bool = True,
        shots: int = 1,
        kshot_trans_dim: int = 2,  # §2
        low_fea: Literal["layer2", "layer3"] = "layer2",  # §2
        dropout: float = 0.5,  # §2
        vit_blocks: tuple[int, int, int] = (0, 1, 2),
        meta_weight: float = 1.0,  # §6
        distillation_weight: float = 1.0,  # §6
        learning_rate: float = 1e-4,  # §7
        weight_decay: float = 0.01,  # §7
    ):
        super().__init__(backbone, vit_blocks)
        check_dropout(dropout)
        self.check_ensemble(base_learner, width, shots, kshot_trans_dim)
        if transformer_width < max(HEADS) or transformer_width % max(HEADS):
            raise SettingsError(
                f"transformer_width is {transformer_width}, expected a multiple of its {max(HEADS)} heads"
            )
        check_rates(
            learning_rate=learning_rate, weight_decay=weight_decay, meta_weight=meta_weight,
            distillation_weight=distillation_weight,
        )  # fmt: skip
        self.shots, self.joins_base_learner = shots, base_learner
        self.authors_shots = self.learned_authors_shots if base_learner else None
        self.rates, self.loss_weights = (learning_rate, weight_decay), (meta_weight, distillation_weight)
        self.settings: dict[str, Any] = {
            "width": width,
            "transformer_width": transformer_width,
            "base_learner": base_learner,
            "shots": shots,
            "low_fea": low_fea,
            "kshot_trans_dim": kshot_trans_dim if shots > 1 else None,
        }
        self.head = HDMNetHead(
            widths(self.backbone), width, transformer_width, base_learner, shots, kshot_trans_dim, low_fea, dropout
        )

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(base_maps=self.joins_base_learner)

    def checkpoint_settings(self) -> dict[str, Any]:
        return self.settings

    def filter_state_dict(self, learned: dict[str, Tensor], whose: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if "head.gram_merge.weight" in learned and not self.joins_base_learner:
            kept = {key: value for key, value in learned.items() if not key.startswith(ENSEMBLE)}
            return kept, {"base_learner": True, "shots": shots_of(learned)}
        if self.joins_base_learner:  # only there weights of shots are learned
            self.check_learned_shots(learned, whose)
        return learned, {}

    def forward(self, episode: EpisodeBatch) -> Prediction:
        query, labels = self.stages(episode, [int(episode.query[0])]), episode.support_labels[0]
        self.check_shots(labels.shape[1], None)
        base = self.base_logits(query.f4) if self.joins_base_learner and query.f4 is not None else None
        finals, similarities = [], []
        for way, rows in enumerate(episode.support[0]):
            output: Output = self.head(
                query, self.objects(episode, rows[None], labels[way, None]), labels[way, None], base
            )
            finals.append(output.final)
            similarities.append(output.similarity[:, -1].clamp(0, 1))
        attention = torch.cat(similarities).float() if self.keeps_soft_masks else None
        return as_prediction(torch.cat(finals), episode, attention)

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        truth, labels = batch.known_truth(), batch.support_labels[:, 0]
        self.check_shots(self.shots, batch.support.shape[2])
        query = self.stages(batch, batch.query.tolist())
        supports = self.objects(batch, batch.support[:, 0], labels)
        base = self.base_logits(query.f4) if self.joins_base_learner and query.f4 is not None else None
        output: Output = self.head(query, supports, labels, base, self.own_class(truth.classes[:, 0]))
        target = torch.stack(truth.label_maps)
        return self.head.losses(output, target, self.base_targets(base, truth), *self.loss_weights)

    def configure_optimizers(self) -> Any:
        return poly_adamw(self.head, *self.rates, steps=max(int(self.trainer.estimated_stepping_batches), 1))

    def objects(self, batch: EpisodeBatch, rows: Tensor, labels: Tensor) -> Iterator[Features]:
        """Yield the features (B, c, ·, ·) of each shot's objects: of its images, black but for them (§2).

        Args:
            batch: the episodes.
            rows: places of the supports among the images (B, K).
            labels: their labels (B, K, S, S); 1 is the object.
        """
        for shot, shown in zip(rows.T.tolist(), labels.unbind(1), strict=True):
            levels = zip(*self._blacked_out(batch, shot, shown), strict=True)
            f1, f2, f3, *rest = (torch.stack(level) for level in levels)
            yield Features(f1, f2, f3, rest[0] if rest else None)

    def _blacked_out(self, batch: EpisodeBatch, rows: list[int], labels: Tensor) -> list[tuple[Tensor, ...]]:
        """Return the features (c, ·, ·) of images `rows` with zeros outside of their objects; labels (B, S, S)."""
        images = [batch.pixels(row) * (label == 1) for row, label in zip(rows, labels, strict=True)]
        if self.encodes_together:
            return [_known(features) for features in self.backbone.encode_together(torch.stack(images))]
        found = []
        for row, image, label in zip(rows, images, labels, strict=True):

            def compute(image: Tensor = image) -> tuple[Tensor, ...]:
                return _known(self.backbone.encode(image))

            shown = hashlib.sha256(label.cpu().numpy().tobytes()).hexdigest()  # an image has objects of several classes
            found.append(self.backbone.cache.get("objects", f"{batch.image_names[row]} {shown}", compute))
        return found


def _known(features: Features) -> tuple[Tensor, ...]:
    """Return the features that there are: f4 only with a base learner."""
    return tuple(level for level in features if level is not None)
