"""Base class of methods that segment one class at a time on pyramids of frozen features: DCAMA and HSNet.

They give two-class logits for each way by itself. Presence is not predicted; the protocol derives it from the mask.
Sections are those of dcama.md.

Shapes: B episodes, N ways, K shots, S image side, (h, w) a map. A pyramid is four tensors, one for each of the scales
1/4, 1/8, 1/16 and 1/32, with L blocks of C channels: (L, C, h, w) of an image; three where the backbone is not `fine`.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from fsbench.core.query_part import Decision, margin_of_ways
from torch import Tensor

from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.core.shot_ensemble import label_map
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.pyramid import FrozenPyramid


class OneWaySegmenter(Segmenter):
    """Base of methods with two-class logits; subclasses implement `logits` and `forward`."""

    trains_one_shot = True  # dcama.md §9, classical-baselines §4.5
    backbone: FrozenPyramid
    backbone_type = FrozenPyramid

    def logits(self, query: list[Tensor], support: list[Tensor], masks: Tensor, episodes: Tensor) -> Tensor:
        """Segment queries by the supports of one class.

        Args:
            query: the scales of the pyramids (B, L, C, h, w).
            support: those of the supports (B, K, L, C, h, w).
            masks: support masks (B, K, S, S).
            episodes: episode numbers (B,).

        Returns:
            logits (B, 2, ·, ·); entry 1 is foreground.
        """
        raise NotImplementedError

    def predict(self, logits: Tensor, episode: EpisodeBatch) -> Prediction:
        """Turn logits (N, 2, ·, ·) into a prediction at the query's original size (§7)."""
        height, width = episode.query_sizes[0].tolist()
        logits = resize(logits, (height, width))
        return Prediction(labels_of(logits), logits=logits)

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over all pixels; void is background (§9)."""
        target = torch.stack(batch.known_truth().label_maps) == 1
        query = _stack_pyramids(self.pyramid(batch, int(row)) for row in batch.query)
        support = self._supports(batch, batch.support[:, 0, :1])
        logits = self.logits(query, support, batch.support_masks[:, 0, :1], batch.episodes)
        return {"loss": F.cross_entropy(resize(logits, (target.shape[1], target.shape[2])), target.long())}

    def pyramid(self, episode: EpisodeBatch, row: int) -> tuple[Tensor, ...]:
        """Return the pyramid of image `row`; cached by image."""
        return self.backbone.cache.get("pyramid", episode.image_names[row], lambda: self.encode(episode, row))

    def _supports(self, episode: EpisodeBatch, rows: Tensor) -> list[Tensor]:
        """Return the pyramids (B, K, L, C, h, w) of images `rows` (B, K)."""
        pyramids = _stack_pyramids(self.pyramid(episode, row) for row in rows.flatten().tolist())
        return [scale.unflatten(0, rows.shape) for scale in pyramids]


def labels_of(logits: Tensor) -> Tensor:
    """Return the label map (h, w) of logits (N, 2, h, w) of each way by itself."""
    return label_map(logits.softmax(1)[:, 1], logits[:, 1] > logits[:, 0])


def decide(logits: Tensor, size: tuple[int, int]) -> Decision:
    """Decide by logits (N, 2, ·, ·) at a size (h, w) as `OneWaySegmenter.predict` does, in a query part."""
    logits = enlarge(logits, size)
    return Decision(labels_of(logits), margin_of_ways(logits.softmax(1)[:, 1]))


def _stack_pyramids(pyramids: Iterable[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.stack(scales) for scales in zip(*pyramids, strict=True)]


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (B, 2, ·, ·) to (B, 2, h, w) in fp32 or wider, bilinear with aligned corners."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits if tuple(logits.shape[-2:]) == size else enlarge(logits, size)


def enlarge(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as `resize` does, also to the size that they have, which a graph for all sizes does not know."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)
