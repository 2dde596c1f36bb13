"""HSNet: hypercorrelation squeeze network (ICCV 2021), the method that DCAMA is compared with.

Cosines between all pixels of query and masked support, for every block of three scales, are squeezed by centre-pivot
4-D convolutions along the support's plane until a mask of the query is left. K shots are K passes that vote. Sections
are those of classical-baselines.md.

Shapes: B samples, L blocks of a scale, (h, w) and (hs, ws) the maps of query and support.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.shot_ensemble import combine, predict_from
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.pyramid_segmenter import OneWaySegmenter, resize
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.kept_correlation import KeptCorrelation, keep_correlation, unit
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.networks.ops.support_planes import from_planes, to_planes

GROUPS = 4  # groups of every GroupNorm, §4.4


class HSNet(OneWaySegmenter):
    """HSNet.

    Args:
        backbone: a pyramid: `resnet50_v1` or `resnet101_v1` in the paper (§4.1).
        learning_rate: constant rate of Adam (§4.5).
        width: channels after the squeeze; 128 in the paper (§4.4).
    """

    released_format = ReleasedFormat("module.", "backbone.")
    step_is_a_mean = True

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-3, width: int = 128):
        super().__init__(backbone)
        self.backbone.fine = False  # all scales but 1/4, §4.1
        if width < 8 * GROUPS or width % (8 * GROUPS):
            raise SettingsError(f"width is {width}, expected a multiple of {8 * GROUPS}")
        self.learning_rate = learning_rate
        self.width = width
        self.hpn_learner = HyperpixelLearner(self.backbone.blocks[1:], width)

    def forward(self, episode: EpisodeBatch) -> Prediction:
        """Predict by K one-shot passes whose votes are divided by the most votes that any pixel has (§4.5).

        One way and shot at a time, so that neither the memory nor the numbers of a way depend on how many there are.
        Of all shots only the sums of their votes and probabilities are held.
        """
        query = [unit(scale[None]) for scale in self.pyramid(episode, int(episode.query[0]))]
        logits = (self.shot_logits(episode, query, shot) for shot in range(episode.support.shape[2]))
        if episode.support.shape[2] == 1:
            return self.predict(next(logits), episode)
        return predict_from(combine(logits, "hsnet_vote"))

    def shot_logits(self, episode: EpisodeBatch, query: Sequence[Tensor], shot: int) -> Tensor:
        """Return the logits (N, 2, h, w) of one shot at the query's own size, a way at a time."""
        height, width = episode.query_sizes[0].tolist()
        answers = []
        for row, mask in zip(episode.support[0, :, shot].tolist(), episode.support_masks[0, :, shot], strict=True):
            support = [scale[None] for scale in self.pyramid(episode, row)]
            answers.append(self.segment(query, support, mask[None]))
        return resize(torch.cat(answers), (height, width))

    def logits(self, query: list[Tensor], support: list[Tensor], masks: Tensor, episodes: Tensor) -> Tensor:
        """Return logits for one shot (K = 1); see `OneWaySegmenter.logits`."""
        return self.segment([unit(scale) for scale in query], [s[:, 0] for s in support], masks[:, 0])

    def segment(self, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor) -> Tensor:
        """Return logits (B, 2, ·, ·) for one shot.

        Args:
            query: unit features (B, L, C, h, w) of the scales 1/8, 1/16, 1/32.
            support: features (B, L, C, h, w) of these scales.
            masks: (B, S, S).
        """
        correlations = [keep_correlation(q, s, masks) for q, s in zip(query, support, strict=True)]
        logits: Tensor = self.hpn_learner(correlations[::-1])
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"width": self.width}


def squeeze(inner: int, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """Build three times 4-D convolution, GroupNorm, ReLU (§4.4).

    The ReLU is the norm's; an identity keeps its number, which is in the names of the authors' checkpoints.
    """
    layers: list[nn.Module] = []
    for outer, kernel, stride in zip(widths, kernels, strides, strict=True):
        layers += [CenterPivotConv4d(inner, outer, kernel, stride), GroupNormReLU(GROUPS, outer), nn.Identity()]
        inner = outer
    return nn.Sequential(*layers)


class HyperpixelLearner(nn.Module):
    """Squeeze the correlations of three scales to two-class logits (§4.4).

    Args:
        blocks: number of correlated blocks at 1/8, 1/16 and 1/32.
        width: channels after the squeeze.
    """

    def __init__(self, blocks: Sequence[int], width: int = 128):
        super().__init__()
        fine, middle, coarse = blocks
        half, grow, keep = width // 2, (width // 8, width // 2, width), (width, width, width)
        self.encoder_layer4 = squeeze(coarse, grow, (3, 3, 3), (2, 2, 2))
        self.encoder_layer3 = squeeze(middle, grow, (5, 3, 3), (4, 2, 2))
        self.encoder_layer2 = squeeze(fine, grow, (5, 5, 3), (4, 4, 2))
        self.encoder_layer4to3 = squeeze(width, keep, (3, 3, 3), (1, 1, 1))
        self.encoder_layer3to2 = squeeze(width, keep, (3, 3, 3), (1, 1, 1))
        self.decoder1 = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, half, 3, padding=1), nn.ReLU()
        )
        self.decoder2 = nn.Sequential(nn.Conv2d(half, half, 3, padding=1), nn.ReLU(), nn.Conv2d(half, 2, 3, padding=1))

    def forward(self, correlations: Sequence[Tensor | KeptCorrelation]) -> Tensor:
        """Return logits (B, 2, 2h, 2w), twice the finest map, of correlations (B, L, h, w, hs, ws), coarsest first.

        All of a correlation, or what a mask keeps of it.
        """
        coarse, middle, fine = correlations
        squeezed = self.encoder_layer3(middle)
        x = enlarge_query(self.encoder_layer4(coarse), squeezed) + squeezed
        x = self.encoder_layer4to3(x)
        squeezed = self.encoder_layer2(fine)
        x = enlarge_query(x, squeezed) + squeezed
        x = self.encoder_layer3to2(x).mean((4, 5))
        x = self.decoder1(x)
        x = F.interpolate(x, (2 * x.shape[-2], 2 * x.shape[-1]), mode="bilinear", align_corners=True)
        logits: Tensor = self.decoder2(x)
        return logits


def enlarge_query(x: Tensor, like: Tensor) -> Tensor:
    """Resize the query's plane of (B, C, h, w, hs, ws) to that of `like`, at every support position."""
    planes = to_planes(x)
    larger = F.interpolate(planes.flatten(0, 2), like.shape[2:4], mode="bilinear", align_corners=True)
    return from_planes(larger.unflatten(0, planes.shape[:3]))
