"""Each query token takes the label of the most similar support token."""

import torch
import torch.nn.functional as F

from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.networks.backbones.base import BackboneConfig


class Mine(Segmenter):
    """Training-free. A way is present when `threshold` of the query is predicted as it."""

    learns = False  # no loss, no optimiser: the runner goes straight to the evaluation

    def __init__(self, backbone: BackboneConfig, threshold: float = 0.02):
        super().__init__(backbone)
        self.threshold = threshold

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """One episode without its truth: a query, supports (N, K), support masks (N, K, S, S)."""
        query = self.tokens(episode, int(episode.query[0]))
        side = round(len(query) ** 0.5)
        best, nothing = [], query.new_full((len(query),), -1)
        for rows, masks in zip(episode.support[0], episode.support_masks[0], strict=True):
            tokens = torch.cat([self.tokens(episode, int(row)) for row in rows])
            labels = F.interpolate(masks[None].float(), (side, side), mode="area").flatten() > 0.5
            similar = query @ tokens.T
            inside = similar[:, labels].amax(1) if labels.any() else nothing
            outside = similar[:, ~labels].amax(1) if (~labels).any() else nothing
            best.append(inside - outside)
        margins = torch.stack(best).view(1, -1, side, side)
        size = tuple(episode.query_sizes[0].tolist())
        value, way = F.interpolate(margins, size, mode="bilinear")[0].max(0)
        label_map = torch.where(value > 0, way + 1, 0)
        share = torch.stack([(label_map == n + 1).float().mean() for n in range(len(best))])
        return Prediction(label_map, share > self.threshold, share)

    def tokens(self, episode: EpisodeBatch, row: int) -> torch.Tensor:
        """Normalised patch tokens (T, C) of the last block."""
        return F.normalize(self.backbone.encode(episode.pixels(row))[-1, 1:], dim=-1)
