"""Base class of HSNet and PATNet: one-shot correlations of three scales, read by the same learner; K shots vote.

Sections are those of classical-baselines.md.

Shapes: B samples, N ways, K shots, L blocks of a scale, C channels, S image side, (h, w) a map.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from fsbench.core.query_part import Decision, QueryPart, margin_of_ways
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.shot_ensemble import combine, label_map, predict_from
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.hyperpixel_learner import GROUPS, HyperpixelLearner
from fsbench.methods.modules.pyramid_segmenter import OneWaySegmenter, decide, enlarge, resize
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.kept_correlation import KeptCorrelation

Segment = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]
"""Function from a query, a support and its mask to logits, as `HyperpixelSegmenter.segment` is."""


class HyperpixelSegmenter(OneWaySegmenter):
    """Base of methods with a `HyperpixelLearner`; subclasses add `hpn_learner` and implement `correlations`.

    Args:
        backbone: a pyramid.
        learning_rate: constant rate of Adam (§4.5).
        width: channels after the squeeze; 128 in the papers (§4.4).
    """

    released_format = ReleasedFormat("module.", "backbone.")
    hpn_learner: HyperpixelLearner
    step_is_a_mean = True

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-3, width: int = 128):
        super().__init__(backbone)
        self.backbone.fine = False  # all scales but 1/4, §4.1
        if width < 8 * GROUPS or width % (8 * GROUPS):
            raise SettingsError(f"width is {width}, expected a multiple of {8 * GROUPS}")
        self.learning_rate = learning_rate
        self.width = width

    def prepare_query(self, query: Sequence[Tensor]) -> list[Tensor]:
        """Return what all supports share of a query's scales (B, L, C, h, w) at 1/8, 1/16, 1/32."""
        return list(query)

    def correlations(
        self, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor
    ) -> Sequence[Tensor | KeptCorrelation]:
        """Return the correlation of each scale, finest first.

        Args:
            query: as `prepare_query` returns it.
            support: features (B, L, C, h, w) of the scales 1/8, 1/16, 1/32.
            masks: support masks (B, S, S).
        """
        raise NotImplementedError

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict by K one-shot passes whose votes are divided by the most votes that any pixel has (§4.5).

        One way and shot at a time, so that neither the memory nor the numbers of a way depend on how many there are.
        Of all shots only the sums of their votes and probabilities are held.
        """
        query = self.prepare_query([scale[None] for scale in self.pyramid(episode, int(episode.query[0]))])
        by_way = self.segment_by_way(episode, query)
        logits = (self.shot_logits(episode, query, shot, by_way) for shot in range(episode.support.shape[2]))
        if episode.support.shape[2] == 1:
            return self.predict(next(logits), episode)
        return predict_from(combine(logits, "hsnet_vote"))

    def query_part(self, episode: EpisodeBatch) -> "HyperpixelQuery":
        ways, shots = episode.support.shape[1:]
        supports = [
            [
                self.masked_support(self.support_scales(episode, way, shot), episode.support_masks[:, way, shot])
                for way in range(ways)
            ]
            for shot in range(shots)
        ]
        return HyperpixelQuery(self, episode.pixels(int(episode.support[0, 0, 0])), supports)

    def masked_support(self, support: Sequence[Tensor], masks: Tensor) -> list[Tensor]:
        """Return what `dense_correlations` compares of a support: features (B, L, C, h, w) by scale."""
        raise NotImplementedError

    def dense_correlations(self, query: Sequence[Tensor], support: Sequence[Tensor]) -> list[Tensor]:
        """Return `correlations` (B, L, h, w, hs, ws) with all support pixels, by operators that a graph can have.

        Args:
            query: as `prepare_query` returns it.
            support: as `masked_support` returns it.
        """
        raise NotImplementedError

    def segment_by_way(self, episode: EpisodeBatch, query: Sequence[Tensor]) -> list[Segment]:
        """Return the function that segments by a shot of each way; `segment` for all unless a method adapts to it."""
        return [self.segment] * episode.support.shape[1]

    def shot_logits(
        self, episode: EpisodeBatch, query: Sequence[Tensor], shot: int, by_way: Sequence[Segment]
    ) -> Tensor:
        """Return the logits (N, 2, h, w) of one shot at the query's own size, a way at a time."""
        height, width = episode.query_sizes[0].tolist()
        answers = [
            segment(query, self.support_scales(episode, way, shot), episode.support_masks[:, way, shot])
            for way, segment in enumerate(by_way)
        ]
        return resize(torch.cat(answers), (height, width))

    def support_scales(self, episode: EpisodeBatch, way: int, shot: int) -> list[Tensor]:
        """Return the features (1, L, C, h, w) of a support at 1/8, 1/16, 1/32."""
        return [scale[None] for scale in self.pyramid(episode, int(episode.support[0, way, shot]))]

    def logits(self, query: list[Tensor], support: list[Tensor], masks: Tensor, episodes: Tensor) -> Tensor:
        """Return logits for one shot (K = 1); see `OneWaySegmenter.logits`."""
        return self.segment(self.prepare_query(query), [s[:, 0] for s in support], masks[:, 0])

    def segment(self, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor) -> Tensor:
        """Return logits (B, 2, ·, ·) for one shot; arguments as of `correlations`."""
        logits: Tensor = self.hpn_learner(self.correlations(query, support, masks)[::-1])
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"width": self.width}


class HyperpixelQuery(QueryPart):
    """A method of hyper-correlations with the features of its supports.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        supports: what `masked_support` returned for each shot and way.
    """

    method: HyperpixelSegmenter

    def __init__(self, method: HyperpixelSegmenter, pixels: Tensor, supports: Sequence[Sequence[Sequence[Tensor]]]):
        super().__init__(method.backbone.network(pixels))
        self.method = method
        self.shots, self.ways = len(supports), len(supports[0])
        for shot, ways in enumerate(supports):
            for way, scales in enumerate(ways):
                self.keep(f"support{shot}_{way}", scales)

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        query = self.method.prepare_query([scale[None] for scale in self.method.backbone.encode(pixels)])
        logits = [
            torch.cat([self._segment(query, self.kept(f"support{shot}_{way}")) for way in range(self.ways)])
            for shot in range(self.shots)
        ]
        if self.shots == 1:
            return decide(logits[0], size)
        full = [enlarge(shot, size) for shot in logits]
        found = combine(full, "hsnet_vote")
        margins = [margin_of_ways(shot.softmax(1)[:, 1]) for shot in full]
        margin = torch.stack([*margins, margin_of_ways(found.scores)]).amin(0)
        return Decision(label_map(found.scores, found.foreground), margin)

    def _segment(self, query: Sequence[Tensor], support: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.method.hpn_learner(self.method.dense_correlations(query, support)[::-1])
        return logits
