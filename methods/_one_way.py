"""What methods do alike that compare one class at a time on pyramids of frozen features: DCAMA and HSNet.

They give two-class logits for each way by itself. Presence is not predicted; the protocol derives it from the mask.

Shapes: B episodes, N ways, K shots, S image side; pyramids as in `methods._mask_aggregation`.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.ensembles import label_map
from fsbench.episodes import EpisodeBatch
from fsbench.pyramids import FrozenPyramid, Pyramid
from methods.base import FewShotMethod, Prediction


class OneWaySegmenter(FewShotMethod):
    """Subclasses implement `logits`."""

    backbone: FrozenPyramid
    backbone_type = FrozenPyramid

    @property
    def segments_only(self) -> bool:
        return True

    def logits(self, query: list[Tensor], support: list[Tensor], masks: Tensor, episodes: Tensor) -> Tensor:
        """Query pyramids (B, L, C, h, w), support pyramids (B, K, L, C, h, w), masks (B, K, S, S) and episode numbers
        (B,) -> logits (B, 2, ·, ·); entry 1 is foreground."""
        raise NotImplementedError

    def forward(self, episode: EpisodeBatch) -> Prediction:
        ways = episode.support.shape[1]
        query = [scale[None].expand(ways, *scale.shape) for scale in self.pyramid(episode, int(episode.query[0]))]
        support = self._supports(episode, episode.support[0])
        logits = self.logits(query, support, episode.support_masks[0], episode.episodes.expand(ways))
        return self.predict(logits, episode)

    def predict(self, logits: Tensor, episode: EpisodeBatch) -> Prediction:
        """Logits (N, 2, ·, ·) -> the prediction at the size that the episode asks for (dcama.md §7)."""
        height, width = episode.query_sizes[0].tolist()
        logits = resize(logits, (height, width))
        return Prediction(label_map(logits.softmax(1)[:, 1], logits[:, 1] > logits[:, 0]), logits=logits)

    def loss(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """Mean cross-entropy over all pixels; void is background (dcama.md §9)."""
        target = torch.stack(batch.known_truth().label_maps) == 1
        query = _stacked(self.pyramid(batch, int(row)) for row in batch.query)
        support = self._supports(batch, batch.support[:, 0, :1])
        logits = self.logits(query, support, batch.support_masks[:, 0, :1], batch.episodes)
        return {"loss": F.cross_entropy(resize(logits, (target.shape[1], target.shape[2])), target.long())}

    def pyramid(self, episode: EpisodeBatch, row: int) -> Pyramid:
        """Pyramid of image `row`; kept for when it comes again."""
        encode = self.backbone.encode
        return self.backbone.cache.get("pyramid", episode.image_names[row], lambda: encode(episode.pixels(row)))

    def _supports(self, episode: EpisodeBatch, rows: Tensor) -> list[Tensor]:
        """Rows (B, K) of images -> pyramids (B, K, L, C, h, w)."""
        found = _stacked(self.pyramid(episode, row) for row in rows.flatten().tolist())
        return [scale.unflatten(0, rows.shape) for scale in found]


def _stacked(pyramids: Iterable[Pyramid]) -> list[Tensor]:
    return [torch.stack(scales) for scales in zip(*pyramids, strict=True)]


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 2, ·, ·) -> (B, 2, h, w) in fp32 or wider, bilinear with aligned corners."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if tuple(logits.shape[-2:]) == size:
        return logits
    return F.interpolate(logits, size, mode="bilinear", align_corners=True)
