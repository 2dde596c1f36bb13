"""Base class of CST and EMAT: correlate frozen tokens, learn to read the correlation, classify and segment N ways.

Sections are those of emat.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) the query's original size, C correlation channels, T query
tokens, Ts support tokens, e channels of a ViT head.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, Exportable, QueryPart, margin_of_ways
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.correlation import Learner, query_features, support_features
from fsbench.methods.modules.released_config import stated_settings
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.vit import FrozenViT


def decide(label_sums: Tensor | None, mask_sums: Tensor) -> tuple[Tensor | None, Tensor]:
    """Decide presence and label map by the authors' rules: a second softmax over the two summed probabilities (§6).

    Args:
        label_sums: (..., N, 2) sums over shots of the presence probabilities, or None.
        mask_sums: (..., N, 2, h, w) sums of the mask probabilities.

    Returns:
        presence (..., N) bool (strictly above 0.5), or None, and label maps (..., h, w) int64: the way of the largest
        foreground probability (the first on ties), 0 where that is below 0.5.
    """
    present = None if label_sums is None else label_sums.softmax(-1)[..., 1] > 0.5
    foreground = mask_sums.softmax(-3)[..., 1, :, :]
    value, way = foreground.max(-3)
    return present, torch.where(value < 0.5, 0, way + 1)


def presence_score(label_sums: Tensor | None) -> Tensor | None:
    """Return the share (N,) of presence in the sums (N, 2) of its probabilities; None without a presence head."""
    return None if label_sums is None else label_sums[..., 1] / label_sums.sum(-1)


Answers = Sequence[tuple[Tensor | None, Tensor]]
"""A learner's logits of presence and of masks for each way."""


def sum_probabilities(shots: Iterable[Answers], size: tuple[int, int]) -> tuple[Tensor | None, Tensor]:
    """Sum the probabilities of all shots (§6), of which one is held at a time.

    Args:
        shots: the learner's answers to each shot.
        size: (h, w).

    Returns:
        sums of presence (N, 2), None without a presence head, and of masks (N, 2, h, w).
    """
    label_sums: Tensor | None = None
    mask_sums: Tensor | None = None
    for answers in shots:
        maps = torch.cat([maps for _, maps in answers])
        labels = [label for label, _ in answers if label is not None]
        probabilities = resize_masks(at_least_single(maps), size).softmax(1)
        mask_sums = probabilities if mask_sums is None else mask_sums + probabilities
        if labels:
            present = at_least_single(torch.cat(labels)).softmax(1)
            label_sums = present if label_sums is None else label_sums + present
    assert mask_sums is not None
    return label_sums, mask_sums


def resize_masks(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize mask logits (N, 2, ·, ·) to (N, 2, h, w), bilinear with aligned corners (§3.5)."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross-entropy of all pixels of logits (B, 2, S, S) against a binary mask (B, S, S) (§5)."""
    return F.cross_entropy(at_least_single(logits), target.long())


def at_least_single(logits: Tensor) -> Tensor:
    """Convert half precision to float32; wider numbers stay."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


Correlation = Literal["heads", "layers", "last_layer"]
"""A channel for each head of each layer of the ViT, for each layer with all its heads together, or for each head of the
last layer alone."""


class FewShotClassifierSegmenter(Segmenter):
    """Base of methods that classify and segment by the correlation of frozen tokens; subclasses set `learner`.

    Args:
        backbone: the frozen ViT.
        support_side: side of the support token grid.
        class_token: False segments only: no presence head, the support's class token is unused.
        learning_rate: rate of Adam (§5).
        presence_weight: weight of the presence loss beside the mask loss (§5).
        average_shots: divide summed probabilities by K before the decision, as CST of 2023; EMAT and CST* do not.
    """

    trains_one_shot = True  # §5
    released_format = ReleasedFormat(stated=stated_settings)
    backbone: FrozenViT
    learner: Learner
    step_is_a_mean = True
    exportable = Exportable()

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

    correlation: Correlation = "heads"
    """Features that a channel of the correlation compares; a subclass may let it be chosen."""

    @property
    def channels(self) -> int:
        """Number of correlation channels: ViT layers x heads, unless `correlation` says otherwise."""
        depth, heads = self.backbone.depth, self.backbone.heads
        return {"heads": depth * heads, "layers": depth, "last_layer": heads}[self.correlation]

    def _compared(self, tokens: Tensor) -> tuple[Tensor, int]:
        """Return those of the tokens (L, 1 + T, c) that are compared, and by how many heads each."""
        chosen = tokens[-1:] if self.correlation == "last_layer" else tokens
        return chosen, 1 if self.correlation == "layers" else self.backbone.heads

    @property
    def predicts_presence(self) -> bool:
        return self.class_token

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"support_side": self.support_side, "class_token": self.class_token}

    def forward(self, episode: EpisodeBatch) -> Prediction:
        query = self._query(episode, int(episode.query[0]))
        size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
        supports = (self._supports_of_shot(episode, shot) for shot in range(episode.support.shape[2]))
        label_sums, mask_sums = self.sum_over_shots(query, supports, episode.support_masks[0], size)
        present, label_map = decide(label_sums, mask_sums)
        return Prediction(label_map, present, presence_score(label_sums), mask_sums.clamp(min=1e-30).log())

    def query_part(self, episode: EpisodeBatch) -> "CorrelationQuery":
        shots = [torch.stack(self._supports_of_shot(episode, shot)) for shot in range(episode.support.shape[2])]
        pixels = episode.pixels(int(episode.support[0, 0, 0]))
        return CorrelationQuery(self, pixels, torch.stack(shots), episode.support_masks[0].transpose(0, 1))

    def query_features(self, tokens: Tensor) -> Tensor:
        """Return the features (C, T, e) of a query's tokens (L, 1 + T, c)."""
        return query_features(*self._compared(tokens))

    def _supports_of_shot(self, episode: EpisodeBatch, shot: int) -> list[Tensor]:
        """Return the support features (C, Ts, e) of each way; those of an image that serves two exist once."""
        rows = episode.support[0, :, shot].tolist()
        features = {row: self._support(episode, row) for row in rows}
        return [features[row] for row in rows]

    def sum_over_shots(
        self, query: Tensor, supports: Iterable[Sequence[Tensor]], masks: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor]:
        """Sum the probabilities of all shots (§6), one shot and way at a time: the memory grows with neither.

        Args:
            query: query features (C, T, e).
            supports: of each shot, which is held no longer than it is used, the support features (C, Ts, e) by way.
            masks: support masks (N, K, S, S).
            size: (h, w).

        Returns:
            presence sums (N, 2), None without class token, and mask sums (N, 2, h, w).
        """
        shots = (
            [
                self.learner(query[None], support[None], mask[None])
                for support, mask in zip(ways, masks[:, shot], strict=True)
            ]
            for shot, ways in enumerate(supports)
        )
        return self.average(*sum_probabilities(shots, size), masks.shape[1])

    def average(self, label_sums: Tensor | None, mask_sums: Tensor, shots: int) -> tuple[Tensor | None, Tensor]:
        """Divide sums over shots by their number, where the method averages."""
        divisor = shots if self.average_shots else 1
        return None if label_sums is None else label_sums / divisor, mask_sums / divisor

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        truth = batch.known_truth()
        query = torch.stack([self._query(batch, int(row)) for row in batch.query])
        support = self._supports(batch, batch.support[:, 0, 0])
        labels, maps = self.learner(query, support, batch.support_masks[:, 0, 0])
        target = torch.stack(truth.label_maps) == 1  # void is background
        return self.losses(labels, maps, truth.presence[:, 0], target)

    def losses(self, labels: Tensor | None, maps: Tensor, present: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the losses of the learner's logits at the size of the mask (§5).

        Args:
            labels: presence logits (B, 2), or None.
            maps: mask logits (B, 2, ·, ·).
            present: (B,).
            target: binary mask (B, S, S).
        """
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
        """Return the features (C, T, e) of image `row` as a query; caches its support features as well."""
        name = batch.image_names[row]

        def compute() -> Tensor:
            tokens = self.encode(batch, row)
            self.backbone.cache.get("support", name, lambda: self._support_features(tokens))
            return self.query_features(tokens)

        return self.backbone.cache.get("query", name, compute)

    def _supports(self, batch: EpisodeBatch, rows: Tensor) -> Tensor:
        """Return the features (*rows.shape, C, Ts, e) of images `rows` as supports."""
        features = {row: self._support(batch, row) for row in set(rows.flatten().tolist())}
        stacked = torch.stack([features[row] for row in rows.flatten().tolist()])
        return stacked.view(*rows.shape, *stacked.shape[1:])

    def _support(self, batch: EpisodeBatch, row: int) -> Tensor:
        return self.backbone.cache.get(
            "support",
            batch.image_names[row],
            lambda: self._support_features(self.encode(batch, row)),
        )

    def _support_features(self, tokens: Tensor) -> Tensor:
        return support_features(*self._compared(tokens), self.support_side, self.class_token)


class CorrelationQuery(QueryPart):
    """A method of correlations with the features of its supports.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        supports: features (K, N, C, Ts, e).
        masks: support masks (K, N, S, S).
    """

    method: FewShotClassifierSegmenter
    supports: Tensor

    def __init__(self, method: FewShotClassifierSegmenter, pixels: Tensor, supports: Tensor, masks: Tensor):
        super().__init__(method.backbone.network(pixels))
        self.method = method
        self.register_buffer("supports", supports)
        self.blocks = len(method.learner.blocks())
        shots = [[method.learner.kept_by_block(mask[None]) for mask in ways] for ways in masks]
        for block in range(self.blocks):  # torch decides here about tokens at the border of a mask
            self.keep(f"kept{block}", [torch.stack([way[block] for way in ways]) for ways in shots])

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        query = self.method.query_features(self.method.backbone.encode(pixels))
        kept = [self.kept(f"kept{block}") for block in range(self.blocks)]
        shots = [
            [
                self.method.learner.read(query[None], support[None], [block[shot][way] for block in kept])
                for way, support in enumerate(ways)
            ]
            for shot, ways in enumerate(self.supports)
        ]
        label_sums, mask_sums = self.method.average(*sum_probabilities(shots, size), len(self.supports))
        decided, label_map = decide(label_sums, mask_sums)
        margin = margin_of_ways(mask_sums.softmax(1)[:, 1])
        return Decision(label_map, margin, decided, presence_score(label_sums))
