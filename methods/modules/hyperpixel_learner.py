"""HSNet's learner: correlations of three scales are squeezed to a mask by centre-pivot 4-D convolutions.

PATNet has the same. Sections are those of classical-baselines.md.

Shapes: B samples, L blocks of a scale, (h, w) and (hs, ws) the maps of query and support.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.kept_correlation import KeptCorrelation
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.networks.ops.support_planes import from_planes, to_planes

GROUPS = 4  # groups of every GroupNorm, §4.4


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
