"""HSNet: hypercorrelation squeeze network (ICCV 2021), the method that DCAMA is compared with.

Cosines between all pixels of query and masked support, for every block of three scales, are squeezed by centre-pivot
4-D convolutions along the support's plane until a mask of the query is left. K shots are K passes that vote. Sections
are those of classical-baselines.md.

Shapes: B samples, L blocks of a scale, C channels, S image side, (hq, wq) and (hs, ws) the maps of query and support, n
support pixels under a mask.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenPyramid
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.kept_correlation import KeptCorrelation, pick, resize_mask, unit
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.networks.ops.support_planes import from_planes, to_planes

GROUPS = 4  # groups of every GroupNorm, §4.4


class MaskedScale(NamedTuple):
    """Unit features of B supports at one scale of the pyramid, only at pixels where the mask is not 0 (§4.2).

    Attributes:
        features: for each of B samples, unit features (L, C, n) of its n kept pixels in L backbone blocks.
        pixels: for each sample, indices (n,) of the kept pixels in the flattened map.
        plane: size (hs, ws) of the map.
    """

    features: tuple[Tensor, ...]
    pixels: tuple[Tensor, ...]
    plane: tuple[int, int]


class HSNet(Segmenter):
    """HSNet: correlations of query and support in many backbone blocks, squeezed by 4-D convolutions.

    Args:
        backbone: frozen network with a feature pyramid: `resnet50_v1` or `resnet101_v1` in the paper (§4.1).
        learning_rate: constant learning rate of Adam (§4.5).
        width: number of channels after the 4-D convolutions; 128 in the paper (§4.4).
    """

    shots = "vote"
    backbone: FrozenPyramid
    backbone_type = FrozenPyramid
    released_format = ReleasedFormat("module.", "backbone.")
    step_is_a_mean = True

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-3, width: int = 128):
        super().__init__(backbone)
        self.backbone.fine = False  # all scales but 1/4, §4.1
        if width < 8 * GROUPS or width % (8 * GROUPS):
            raise SettingsError(f"width is {width}, expected a multiple of {8 * GROUPS}")
        self.learning_rate = learning_rate
        self.width = width
        self.add_networks()

    def add_networks(self) -> None:
        """Create the trained layers; the order of creation fixes the random numbers that each gets."""
        self.hpn_learner = HyperpixelLearner(self.backbone.blocks[1:], self.width)

    def query(self, image: Sequence[Tensor]) -> Sequence[Tensor]:
        """Scale the query's features to unit length: one tensor (B, L, C, hq, wq) for each scale 1/8, 1/16 and 1/32."""
        return [unit(scale) for scale in image]

    def support(self, image: Sequence[Tensor], mask: Tensor) -> list[MaskedScale]:
        """Multiply a support's features by its mask, and keep the non-zero pixels as unit vectors (§4.2).

        Args:
            image: for each scale, features (B, L, C, hs, ws) of L backbone blocks.
            mask: foreground masks of the supports (B, S, S).
        """
        return [masked(scale, mask) for scale in image]

    def segment(self, query: Sequence[Tensor], support: Sequence[MaskedScale]) -> Tensor:
        """Correlate a query with one support at three scales, and return logits (B, 2, ·, ·) from 4-D convolutions."""
        logits: Tensor = self.hpn_learner([correlate(q, s) for q, s in zip(query, support, strict=True)][::-1])
        return logits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"width": self.width}


def masked(scale: Tensor, mask: Tensor) -> MaskedScale:
    """Multiply features (B, L, C, hs, ws) by resized masks (B, S, S) and keep the pixels where these are not 0."""
    plane = (scale.shape[-2], scale.shape[-1])
    weights = resize_mask(mask, plane).flatten(1)
    pixels = tuple(weight.nonzero()[:, 0] for weight in weights)
    kept = zip(scale, weights, pixels, strict=True)
    return MaskedScale(tuple(unit(pick(s.flatten(2), p) * w[p], 1) for s, w, p in kept), pixels, plane)


def correlate(query: Tensor, support: MaskedScale) -> KeptCorrelation | Tensor:
    """Return the cosines (B, L, hq, wq, hs, ws) of each query pixel with each support pixel, negative ones set to 0.

    `query` holds unit features (B, L, C, hq, wq). The result stores the support's kept pixels alone.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    kept = [features.to(dtype) for features in support.features]
    plane = (query.shape[-2], query.shape[-1])
    found = KeptCorrelation(query.to(dtype).flatten(3), kept, support.pixels, plane, support.plane)
    return found.dense() if torch.compiler.is_exporting() else found


def squeeze(inner: int, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """Build a 4-D convolution with GroupNorm and ReLU for each entry of `widths`, `kernels` and `strides` (§4.4).

    `inner` is the number of input channels. The ReLU is part of the norm module; an identity stands in its place, so
    that modules are numbered as in the authors' checkpoints.
    """
    layers: list[nn.Module] = []
    for outer, kernel, stride in zip(widths, kernels, strides, strict=True):
        layers += [CenterPivotConv4d(inner, outer, kernel, stride), GroupNormReLU(GROUPS, outer), nn.Identity()]
        inner = outer
    return nn.Sequential(*layers)


class HyperpixelLearner(nn.Module):
    """Network that squeezes correlations of three scales into two-class logits (§4.4).

    Args:
        blocks: number of backbone blocks that are correlated at 1/8, 1/16 and 1/32.
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
        """Return logits (B, 2, 2hq, 2wq) of correlations (B, L, hq, wq, hs, ws), the coarsest first."""
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
    """Resize the query axes (h, w) of a correlation (B, C, h, w, hs, ws) bilinearly to the query axes of `like`."""
    planes = to_planes(x)
    larger = F.interpolate(planes.flatten(0, 2), like.shape[2:4], mode="bilinear", align_corners=True)
    return from_planes(larger.unflatten(0, planes.shape[:3]))
