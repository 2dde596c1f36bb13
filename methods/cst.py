"""CST: correlation transformer for few-shot classification and segmentation, and its variants.

Correlation tokens of all ViT layers and heads are reduced along the support axis by two attention layers, which attend
only to support tokens inside the mask and pool. `support_side` 12 with DINOv2 is the CST* of the EMAT paper, 18 is
CST-large; 12 with DINO ViT-S/8 at 400 pixels and averaged shots is the CST of 2023. Sections are those of emat.md.

Shapes: B samples (episodes x ways), C channels, T query tokens, Ts support tokens (class token first), Td pooled ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.modules.correlation import (
    HEADS,
    AttentionBlock,
    AttentionLayer,
    Correlated,
    FewShotClassifierSegmenter,
    Learner,
    aggregation,
    norm,
)  # fmt: skip
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.masked_attention import masked_attention

WIDTHS = (32, 128)  # channels after the first and the second layer, first table of emat.md
FIRST_POOL = {12: 4, 18: 3}  # support side -> pooling of the first layer; the second pools to 1


class CST(FewShotClassifierSegmenter):
    """CST: classification and segmentation by attention on correlations; also CST*, CST-large and the CST of 2023.

    Args:
        backbone: the frozen ViT.
        support_side: side of the grid of support tokens, 12 or 18 in the papers. Two pooling layers must reduce it to 1
            without a remainder, as they do multiples of 3.
        learning_rate: learning rate of Adam.
        presence_weight: weight of the presence loss beside the mask loss.
        average_shots: whether the shots' probabilities are averaged, as in the CST of 2023, instead of summed (§6).
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        support_side: int = 12,
        learning_rate: float = 1e-3,  # §5
        presence_weight: float = 0.1,  # §5
        average_shots: bool = False,
    ):
        if support_side < 3:
            raise SettingsError(f"support_side is {support_side}, expected 3 or more: it is pooled twice")
        if support_side % first_pool(support_side):
            raise SettingsError(
                f"support_side is {support_side}, whose pooling would leave tokens out; expected 12 (CST*, CST of "
                "2023), 18 (CST-large) or another multiple of 3"
            )
        super().__init__(backbone, support_side, True, learning_rate, presence_weight)
        self.shots = "average" if average_shots else "add"
        self.learner = cst_learner(self.channels, support_side)


def first_pool(side: int) -> int:
    """Return the pool size of CST's first layer for a support grid of `side` tokens; the second layer pools to 1."""
    return FIRST_POOL.get(side, side // 3)


def cst_learner(channels: int, side: int) -> Learner:
    """Build CST's trainable network: two attention layers that pool a support grid of side x side tokens to one.

    `channels` is the number of correlation channels. The class token is not pooled.
    """
    pool = first_pool(side)
    first = MaskedAttention(channels, WIDTHS[0], pool)
    second = MaskedAttention(WIDTHS[0], WIDTHS[1], side // pool)
    blocks = [AttentionBlock(first, WIDTHS[0], side), AttentionBlock(second, WIDTHS[1], side // pool)]
    return Learner(blocks, WIDTHS[1])


class MaskedAttention(AttentionLayer):
    """Attention of pooled support tokens to the support tokens under the mask, with a pooled residual path (§3.2).

    The authors set the logits of tokens outside of the mask to -1e9. The class token is always kept, so this equals
    removing them.

    Args:
        channels: C, input channels.
        out: output channels.
        pool: side of the squares of support tokens that are average-pooled.
    """

    def __init__(self, channels: int, out: int, pool: int):
        super().__init__()
        self.pool = pool
        self.hidden = out // 2
        conv = nn.Conv2d(channels, out, 1, bias=False)
        self.short_cut = nn.Sequential(conv, nn.AvgPool2d(pool), norm(out), nn.ReLU(inplace=True))
        self.qkv = nn.Conv2d(channels, 3 * self.hidden, 1)
        self.agg = aggregation(self.hidden, out)
        self.out_norm = norm(out)

    def reduce(self, x: Correlated, keep: Tensor) -> tuple[Tensor, Tensor]:
        # pooling commutes with the maps and with the product of query and support (§8, 5)
        pooled = pool_tokens(x, self.pool) if isinstance(x, Tensor) else x[0] @ pool_tokens(x[1].mT, self.pool)
        weight, bias = self.qkv.weight, self.qkv.bias
        assert bias is not None
        q = F.conv2d(pooled, weight[: self.hidden], bias[: self.hidden])
        attended = masked_attention(q, x, weight[self.hidden :, :, 0, 0], bias[self.hidden :], keep, HEADS)
        return self.short_cut[0](pooled), attended


def pool_tokens(x: Tensor, size: int) -> Tensor:
    """Average-pool the support tokens, the last axis of (B, C, T, Ts), as a square map by size x size.

    The first of the Ts tokens is the class token, which stays as it is.
    """
    batch, channels, positions, tokens = x.shape
    side = round((tokens - 1) ** 0.5)
    pooled = F.avg_pool2d(x[..., 1:].reshape(batch, channels * positions, side, side), size)
    return torch.cat([x[..., :1], pooled.reshape(batch, channels, positions, -1)], -1)
