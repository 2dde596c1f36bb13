"""EMAT: efficient masked attention transformer for few-shot classification and segmentation.

Correlation tokens of all ViT layers and heads are reduced along the support axis by two attention layers, which attend
only to support tokens inside the mask and downscale with learned convolutions; heads for presence and mask follow.
Sections are those of emat.md. `class_token: false` is EMAT-seg, which only segments.

Shapes: B samples (episodes x ways), C correlation channels, T query tokens, Ts support tokens (class token first),
Td downscaled ones, D hidden channels.
"""

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.correlation import (
    HEADS,
    AttentionBlock,
    AttentionLayer,
    Correlated,
    Correlation,
    FewShotClassifierSegmenter,
    Learner,
    aggregation,
    norm,
)  # fmt: skip
from fsbench.methods.modules.halved_correlation import halve_correlation
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.masked_attention import masked_attention

WIDTHS = (64, 32)  # channels after the first and the second layer, first table of emat.md


class EMAT(FewShotClassifierSegmenter):
    """EMAT and EMAT-seg: classification and segmentation by masked attention on correlations.

    Args:
        backbone: the frozen ViT, DINOv2 ViT-S/14 in the paper (§1).
        support_side: side of the grid of support tokens, a multiple of 4; 20 in the paper, which is 401 tokens with the
            class token.
        class_token: whether the class token is used and presence is predicted; False for EMAT-seg, which only segments.
        learning_rate: learning rate of Adam.
        presence_weight: weight of the presence loss beside the mask loss.
        correlation: features that a channel of the correlation compares: those of one head of one ViT layer ("heads",
            as in the paper), of a whole layer ("layers"), or of one head of the last layer ("last_layer").
        attention_heads: "batched" computes the heads of the learner's attention together; "sequential" one after the
            other, with the same answers but for rounding.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        support_side: int = 20,
        class_token: bool = True,
        learning_rate: float = 1e-3,  # §5
        presence_weight: float = 0.1,  # §5
        correlation: Correlation = "heads",  # §2
        attention_heads: Literal["batched", "sequential"] = "batched",
    ):
        if support_side < 4 or support_side % 4:
            raise SettingsError(f"support_side is {support_side}, expected a multiple of 4: it is halved twice")
        super().__init__(backbone, support_side, class_token, learning_rate, presence_weight)
        self.correlation = correlation
        self.learner = emat_learner(self.channels, support_side, class_token, attention_heads == "sequential")

    def checkpoint_settings(self) -> dict[str, Any]:
        other = {} if self.correlation == "heads" else {"correlation": self.correlation}
        return super().checkpoint_settings() | other

    def support_attention(self, episode: EpisodeBatch, row: float, column: float) -> dict[str, Tensor]:
        """Return how much a query patch attends to each support patch of the first way, in the first attention layer.

        Args:
            episode: one episode.
            row, column: position of the patch as shares of height and width.

        Returns:
            {"attention": the learner's attention, "without the mask": the attention if the mask dropped no token}, (K,
            side, side) each for K shots. The values of a shot and of its class token, which is left out, sum to 1.
        """
        query = self.query(self.features(episode, episode.query))[0]
        supports = self.support(
            self.features(episode, episode.support[0, 0], supports=True), episode.support_masks[0, 0]
        )
        side = round(query.shape[1] ** 0.5)
        patch = int(row * side) * side + int(column * side)
        x, keep = query[None, :, patch : patch + 1] @ supports.features.mT, supports.kept[0]
        layer = self.learner.corrtransformer[0].attn
        assert isinstance(layer, EfficientMaskedAttention)
        weights = {"attention": layer.weights(x, keep), "without the mask": layer.weights(x, torch.ones_like(keep))}
        start = int(self.class_token)
        return {k: rearrange(w[:, start:], "k (y x) -> k y x", y=self.support_side) for k, w in weights.items()}


def emat_learner(channels: int, side: int, class_token: bool = True, sequential: bool = False) -> Learner:
    """Build EMAT's trainable network, which reduces a support grid of side x side tokens to one token.

    The first layer halves the side by convolution; the second layer halves it again and pools the remaining tokens.

    Args:
        channels: C, number of correlation channels.
        side: side of the grid of support tokens.
        class_token: whether tokens start with a class token.
        sequential: compute the heads of the attention one after the other.
    """
    first = EfficientMaskedAttention(channels, WIDTHS[0], 0, class_token, sequential)
    second = EfficientMaskedAttention(WIDTHS[0], WIDTHS[1], side // 4, class_token, sequential)
    blocks = [AttentionBlock(first, WIDTHS[0], side), AttentionBlock(second, WIDTHS[1], side // 2)]
    return Learner(blocks, WIDTHS[1], class_token)


class LearnableDownscaling(nn.Module):
    """Layer that halves the grid of support tokens by a strided convolution, then average-pools it (§3.3, `Down`).

    The class token goes through a linear map of its own.

    Args:
        channels: C, input channels.
        out: output channels.
        pool: side of the squares that are average-pooled; 0 for no pooling.
        class_token: whether tokens start with a class token.
        bias: whether the convolution and the class token's linear map have a bias.
    """

    def __init__(self, channels: int, out: int, pool: int, class_token: bool, bias: bool):
        super().__init__()
        self.pool, self.class_token = pool, class_token
        if class_token:
            self.q_cls = nn.Conv2d(channels, out, 1, bias=bias)
        self.q_seg = nn.Conv3d(channels, out, (1, 2, 2), stride=(1, 2, 2), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Downscale the support axis of correlation tokens (B, C, T, Ts); return (B, out, T, Td).

        T is the number of query tokens, Ts and Td are the numbers of support tokens before and after.
        """
        return self.mapped(x[..., :1], parities(x, self.pool, self.class_token))

    def mapped(self, class_token: Tensor, image: Tensor) -> Tensor:
        """Apply the layer's linear maps to already pooled tokens; return (B, out, T, Td).

        Args:
            class_token: class token (B, C, T, 1), used only if the layer has one.
            image: image tokens (B, 4C, T, ·) as `parities` returns them.
        """
        weight = rearrange(self.q_seg.weight, "o c 1 i j -> o (c i j) 1 1")
        y = F.conv2d(image, weight, self.q_seg.bias)
        return torch.cat([self.q_cls(class_token), y], -1) if self.class_token else y

    def token_biases(self, image_tokens: int) -> Tensor:
        """Return the layer's bias for each downscaled token, (out, Td); zeros if it has no bias.

        The first column is the class token's, if there is one; `image_tokens` columns of the image tokens follow.
        """
        columns = [(self.q_cls, 1)] if self.class_token else []
        zeros = self.q_seg.weight.new_zeros(self.q_seg.out_channels)
        biases = [(zeros if c.bias is None else c.bias, n) for c, n in (*columns, (self.q_seg, image_tokens))]
        return torch.cat([bias[:, None].expand(-1, n) for bias, n in biases], 1)


def parities(x: Tensor, pool: int, class_token: bool) -> Tensor:
    """Fold 2x2 blocks of support tokens into channels and average-pool them: (B, C, T, Ts) to (B, 4C, T, Td).

    A convolution with kernel and stride 2, followed by pooling, is a linear map of the result (§8). The class token
    is left out if `class_token`, and so are odd last rows and columns, which the stride does not reach. `pool` is the
    side of the pooling; 0 for none.
    """
    image = x[..., int(class_token) :]
    side, pool = round(image.shape[-1] ** 0.5), max(pool, 1)
    even = side // (2 * pool) * 2 * pool
    image = image.unflatten(3, (side, side))[..., :even, :even]
    return reduce(image, "b c t (y p i) (x q j) -> b (c i j) t (y x)", "mean", p=pool, q=pool, i=2, j=2)


class EfficientMaskedAttention(AttentionLayer):
    """Attention of downscaled support tokens to the support tokens under the mask, with a downscaled residual (§3.3).

    Args:
        channels: C, input channels.
        out: output channels.
        pool: side of the squares that are average-pooled after downscaling; 0 for no pooling.
        class_token: whether tokens start with a class token.
        sequential: whether the heads are computed one after the other.
    """

    def __init__(self, channels: int, out: int, pool: int, class_token: bool, sequential: bool = False):
        super().__init__()
        self.sequential = sequential
        hidden = out // 2
        down = LearnableDownscaling(channels, out, pool, class_token, bias=False)
        self.short_cut = nn.Sequential(down, norm(out), nn.ReLU(inplace=True))
        self.q = LearnableDownscaling(channels, hidden, pool, class_token, bias=True)
        self.kv = nn.Conv2d(channels, 2 * hidden, 1)
        self.agg = aggregation(hidden, out)
        self.out_norm = norm(out)

    def reduce(self, x: Correlated, keep: Tensor) -> tuple[Tensor, Tensor]:
        short, q = self._downscale(x)
        bias, weight = self.kv.bias, self.kv.weight[..., 0, 0]
        assert bias is not None
        if not self.sequential:
            return short, masked_attention(q, x, weight, bias, keep, HEADS, overwrite=True)
        weights, biases = (p.unflatten(0, (2, HEADS, -1)) for p in (weight, bias))  # keys and values of each head
        heads = zip(q.chunk(HEADS, 1), weights.unbind(1), biases.unbind(1), strict=True)
        each = [masked_attention(part, x, w.flatten(0, 1), b.flatten(), keep, 1) for part, w, b in heads]
        return short, torch.cat(each, 1)

    def _downscale(self, x: Correlated) -> list[Tensor]:
        """Return the short cut and the queries."""
        maps = [cast(LearnableDownscaling, self.short_cut[0]), self.q]
        if isinstance(x, Tensor):
            image = parities(x, self.q.pool, self.q.class_token)
            return [m.mapped(x[..., :1], image) for m in maps]
        side = round((x[1].shape[2] - self.q.class_token) ** 0.5)
        return halve_correlation(
            *x,
            [m.q_seg.weight[:, :, 0] for m in maps],
            [m.token_biases((side // 2) ** 2) for m in maps],
            [m.q_cls.weight[..., 0, 0] for m in maps if m.class_token],
        )

    def weights(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the attention (B, Ts) to each support token, averaged over heads and downscaled tokens.

        Args:
            x: correlation tokens (B, C, 1, Ts) of one query position.
            keep: (B, Ts) bool, support tokens under the mask.
        """
        hidden = self.q.q_seg.out_channels
        bias = self.kv.bias
        assert bias is not None
        q = rearrange(self.q(x), "b (h e) 1 d -> b h d e", h=HEADS)
        k = rearrange(F.conv2d(x, self.kv.weight[:hidden], bias[:hidden]), "b (h e) 1 m -> b h e m", h=HEADS)
        return (q @ k).masked_fill(~keep[:, None, None], -torch.inf).softmax(-1).mean((1, 2))
