"""HSNet: hypercorrelation squeeze network (ICCV 2021), the method that DCAMA is compared with.

Cosines between all pixels of query and masked support, for every block of three scales, are squeezed by centre-pivot
4-D convolutions along the support's plane until a mask of the query is left. K shots are K passes that vote. Sections
are those of classical-baselines.md.
"""

from collections.abc import Sequence

from torch import Tensor

from fsbench.core.query_part import Exportable
from fsbench.methods.modules.hyperpixel_learner import HyperpixelLearner
from fsbench.methods.modules.hyperpixel_segmenter import HyperpixelSegmenter
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.correlation import masked, unit_correlation
from fsbench.networks.ops.kept_correlation import KeptCorrelation, keep_correlation, unit


class HSNet(HyperpixelSegmenter):
    """HSNet.

    Args:
        backbone: a pyramid: `resnet50_v1` or `resnet101_v1` in the paper (§4.1).
        learning_rate: constant rate of Adam (§4.5).
        width: channels after the squeeze; 128 in the paper (§4.4).
    """

    exportable = Exportable()

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-3, width: int = 128):
        super().__init__(backbone, learning_rate, width)
        self.hpn_learner = HyperpixelLearner(self.backbone.blocks[1:], width)

    def prepare_query(self, query: Sequence[Tensor]) -> list[Tensor]:
        """Return unit features."""
        return [unit(scale) for scale in query]

    def correlations(self, query: Sequence[Tensor], support: Sequence[Tensor], masks: Tensor) -> list[KeptCorrelation]:
        """Return cosines of unit features with those of the masked support (§4.2)."""
        return [keep_correlation(q, s, masks) for q, s in zip(query, support, strict=True)]

    def masked_support(self, support: Sequence[Tensor], masks: Tensor) -> list[Tensor]:
        return [unit(masked(scale, masks)) for scale in support]

    def dense_correlations(self, query: Sequence[Tensor], support: Sequence[Tensor]) -> list[Tensor]:
        return [unit_correlation(q, s) for q, s in zip(query, support, strict=True)]
