"""What CST and EMAT do alike: correlation of frozen tokens, a learner, N-way K-shot inference, loss and optimiser.

Sections are those of emat.md. Shapes: B episodes, N ways, K shots, S image side, (h, w) the query's original size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.backbones import BackboneConfig, FrozenViT
from fsbench.episodes import EpisodeBatch
from methods._layers import Learner, query_features, support_features
from methods.base import FewShotMethod, Prediction


def decide(label_sums: Tensor | None, mask_sums: Tensor) -> tuple[Tensor | None, Tensor]:
    """Decision rules of the authors (§6), taken literally: a second softmax over the two summed probabilities.

    Args:
        label_sums: (..., N, 2) sums over shots of the presence probabilities, or None.
        mask_sums: (..., N, 2, h, w) sums of the mask probabilities.

    Returns:
        decisions (..., N) bool (strictly above 0.5), and label maps (..., h, w) int64: the way of the largest
        foreground probability (the first on ties), 0 where that is below 0.5.
    """
    decided = None if label_sums is None else label_sums.softmax(-1)[..., 1] > 0.5
    foreground = mask_sums.softmax(-3)[..., 1, :, :]
    value, way = foreground.max(-3)
    return decided, torch.where(value < 0.5, 0, way + 1)


def resize_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits (N, 2, ·, ·) -> (N, 2, h, w), bilinear with aligned corners, of the logits (§3.5)."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over all pixels of (B, 2, S, S) logits against a (B, S, S) binary mask (§5)."""
    return F.cross_entropy(at_least_single(logits), target.long())


def at_least_single(logits: Tensor) -> Tensor:
    """Half precision to float32; wider stays."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class FewShotClassifierSegmenter(FewShotMethod):
    """Correlate frozen tokens of query and support, and learn to read the correlation.

    Args:
        backbone: the frozen ViT.
        support_side: side s of the support token grid.
        class_token: False for segmentation only (no presence head, support class token unused).
        learning_rate: of Adam (§5).
        presence_weight: weight of the presence loss beside the mask loss (§5).
        average_shots: divide summed probabilities by K before they are decided on (CST, 2023); EMAT and CST* do not.
    """

    backbone: FrozenViT
    learner: Learner

    def __init__(
        self,
        backbone: BackboneConfig,
        support_side: int,
        class_token: bool = True,
        learning_rate: float = 1e-3,
        presence_weight: float = 0.1,
        average_shots: bool = False,
    ):
        super().__init__(backbone)
        self.support_side = support_side
        self.class_token = class_token
        self.learning_rate = learning_rate
        self.presence_weight = presence_weight
        self.average_shots = average_shots

    @property
    def channels(self) -> int:
        """Correlation channels: ViT layers x heads."""
        return self.backbone.depth * self.backbone.heads

    @property
    def segments_only(self) -> bool:
        return not self.class_token

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"support_side": self.support_side, "class_token": self.class_token}

    def forward(self, episode: EpisodeBatch) -> Prediction:
        query = self._query(episode, int(episode.query[0]))
        size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
        label_sums, mask_sums = self.sum_over_shots(
            query, self._supports(episode, episode.support[0]), episode.support_masks[0], size
        )
        decided, label_map = decide(label_sums, mask_sums)
        score = None if label_sums is None else label_sums[..., 1] / label_sums.sum(-1)
        return Prediction(label_map, decided, score, mask_sums.clamp(min=1e-30).log())

    def sum_over_shots(
        self, query: Tensor, supports: Tensor, masks: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor]:
        """Probabilities summed over shots (§6).

        Args:
            query: (C, T, e) query features; supports: (N, K, C, Ts, e) support features.
            masks: (N, K, S, S) support masks; size: (h, w).

        Returns:
            presence sums (N, 2), None without class token, and mask sums (N, 2, h, w).
        """
        label_sums: Tensor | None = None
        mask_sums: Tensor | None = None
        for shot in range(supports.shape[1]):
            labels, maps = self.learner(query[None], supports[:, shot], masks[:, shot])
            probabilities = resize_masks(at_least_single(maps), size).softmax(1)
            mask_sums = probabilities if mask_sums is None else mask_sums + probabilities
            if labels is not None:
                present = at_least_single(labels).softmax(1)
                label_sums = present if label_sums is None else label_sums + present
        assert mask_sums is not None
        divisor = supports.shape[1] if self.average_shots else 1
        return None if label_sums is None else label_sums / divisor, mask_sums / divisor

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        truth = batch.known_truth()
        query = torch.stack([self._query(batch, int(row)) for row in batch.query])
        support = self._supports(batch, batch.support[:, 0, 0])
        labels, maps = self.learner(query, support, batch.support_masks[:, 0, 0])
        target = torch.stack(truth.label_maps) == 1  # void is background
        return self.losses(labels, maps, truth.presence[:, 0], target)

    def losses(self, labels: Tensor | None, maps: Tensor, present: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss of logits (B, 2) and (B, 2, ·, ·) against presence (B,) and mask (B, S, S), at its size."""
        mask_loss = segmentation_loss(resize_masks(maps, (target.shape[1], target.shape[2])), target)
        if labels is None:
            return {"loss": mask_loss}
        presence_loss = F.cross_entropy(at_least_single(labels), present.long())
        return {
            "loss": mask_loss + self.presence_weight * presence_loss,
            "mask": mask_loss,
            "presence": presence_loss,
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.learner.parameters(), lr=self.learning_rate)  # no schedule, no decay (§5)

    def _query(self, batch: EpisodeBatch, row: int) -> Tensor:
        """(C, T, e) features of image `row` as a query; its support features come along."""
        name = batch.image_names[row]

        def compute() -> Tensor:
            tokens = self.backbone.encode(batch.pixels(row))
            self.backbone.cache.get("support", name, lambda: self._support_features(tokens))
            return query_features(tokens, self.backbone.heads)

        return self.backbone.cache.get("query", name, compute)

    def _supports(self, batch: EpisodeBatch, rows: Tensor) -> Tensor:
        """(*rows.shape, C, Ts, e) features of images `rows` as supports."""
        features = {row: self._support(batch, row) for row in set(rows.flatten().tolist())}
        stacked = torch.stack([features[row] for row in rows.flatten().tolist()])
        return stacked.view(*rows.shape, *stacked.shape[1:])

    def _support(self, batch: EpisodeBatch, row: int) -> Tensor:
        return self.backbone.cache.get(
            "support",
            batch.image_names[row],
            lambda: self._support_features(self.backbone.encode(batch.pixels(row))),
        )

    def _support_features(self, tokens: Tensor) -> Tensor:
        return support_features(tokens, self.backbone.heads, self.support_side, self.class_token)
