"""EMAT: efficient masked attention transformer for few-shot classification and segmentation.

Correlation tokens of all ViT layers and heads are reduced along the support axis by two attention layers, which attend
only to support tokens inside the mask and downscale with learned convolutions; heads for presence and mask follow.
Sections are those of emat.md. `class_token: false` is EMAT-seg, which only segments.

Shapes: B samples (episodes x ways), C correlation channels, T query tokens, Ts support tokens (class token first),
Td downscaled ones, D hidden channels.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch
from fsbench.methods.modules.correlation import HEADS, AttentionBlock, AttentionLayer, Learner, norm
from fsbench.methods.modules.halved_correlation import halve_correlation
from fsbench.methods.modules.segmenter import Correlation, FewShotClassifierSegmenter
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.masked_attention import masked_attention

WIDTHS = (64, 32)  # channels after the first and the second layer, first table of emat.md


class EMAT(FewShotClassifierSegmenter):
    """EMAT and EMAT-seg.

    Args:
        backbone: the frozen ViT, DINOv2 ViT-S/14 in the paper (§1).
        support_side: side of the support token grid, a multiple of 4; 20 in the paper, i.e. 401 tokens.
        class_token: False for EMAT-seg.
        learning_rate: rate of Adam.
        presence_weight: weight of the presence loss.
        correlation: what a channel of the correlation compares: a head of a layer of the ViT ("heads", as in the
            paper), a whole layer ("layers"), or a head of the last layer alone ("last_layer").
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
        """Return the first layer's attention of a query patch to the supports of the first way.

        Args:
            episode: one episode.
            row, column: place of the patch as shares of height and width.

        Returns:
            "attention", and "without the mask" as if no token were dropped: (K, side, side) each. For every shot they
            sum to 1 together with the class token's part, which is left out.
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
    """Build EMAT's learner: the support side goes to side/2, then to side/4 by convolution and to 1 by pooling.

    Args:
        channels: C.
        side: side of the support's tokens.
        class_token: tokens start with a class token.
        sequential: compute the heads of the attention one after the other.
    """
    first = EfficientMaskedAttention(channels, WIDTHS[0], 0, class_token, sequential)
    second = EfficientMaskedAttention(WIDTHS[0], WIDTHS[1], side // 4, class_token, sequential)
    blocks = [AttentionBlock(first, WIDTHS[0], side), AttentionBlock(second, WIDTHS[1], side // 2)]
    return Learner(blocks, WIDTHS[1], class_token)


class LearnableDownscaling(nn.Module):
    """Halve the support side with a strided convolution, then average-pool it (§3.3, `Down`).

    The class token goes through a linear map of its own.

    Args:
        channels: C.
        out: output channels.
        pool: side of the pooling; 0 for none.
        class_token: tokens start with a class token.
        bias: whether the maps have a bias.
    """

    def __init__(self, channels: int, out: int, pool: int, class_token: bool, bias: bool):
        super().__init__()
        self.pool = pool
        if class_token:
            self.q_cls = nn.Conv2d(channels, out, 1, bias=bias)
        self.q_seg = nn.Conv3d(channels, out, (1, 2, 2), stride=(1, 2, 2), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens (B, out, T, Td) of the smaller support from those (B, C, T, Ts) of the larger."""
        return downscale(x, [self])[0]

    def token_biases(self, image_tokens: int) -> Tensor:
        """Return the biases (out, Td) of the class token, if there is one, and of `image_tokens`; zeros for none."""
        convolutions: list[tuple[nn.Conv2d | nn.Conv3d, int]] = [(self.q_seg, image_tokens)]
        if hasattr(self, "q_cls"):
            convolutions.insert(0, (self.q_cls, 1))
        zeros = self.q_seg.weight.new_zeros(self.q_seg.out_channels)
        return torch.cat([(zeros if c.bias is None else c.bias)[:, None].expand(-1, n) for c, n in convolutions], 1)


def downscale(x: Tensor, modules: list[LearnableDownscaling]) -> list[Tensor]:
    """Apply several `LearnableDownscaling` of equal geometry to the same input by one convolution (§8, 3).

    The kernel has depth 1 along T, so the rows of all T maps are stacked into one 2-d image of even height.
    """
    class_token = hasattr(modules[0], "q_cls")
    if modules[0].pool:
        return _downscale_means(x, modules)
    image = rearrange(x[..., 1:] if class_token else x, "b c t (y x) -> b c t y x", y=round((x.shape[-1]) ** 0.5))
    side = image.shape[-1] // 2
    image = image[..., : 2 * side, : 2 * side]  # a stride of 2 leaves out an odd last row and column
    y = _halve(image, *_joint([m.q_seg for m in modules]))
    y = rearrange(y, "b e (t y) x -> b e t (y x)", t=x.shape[2])
    if class_token:
        y = torch.cat([F.conv2d(x[..., :1], *_joint([m.q_cls for m in modules])), y], -1)
    return list(y.split([m.q_seg.out_channels for m in modules], 1))


def _downscale_means(x: Tensor, modules: list[LearnableDownscaling]) -> list[Tensor]:
    """Apply pooled `LearnableDownscaling`: the pooling is linear, so it comes first, parity by parity (§8, 5)."""
    start, pool = int(hasattr(modules[0], "q_cls")), modules[0].pool
    side = round((x.shape[-1] - start) ** 0.5)
    cells = torch.arange(side // 2 // pool * pool * 2)
    parity, place = cells % 2, cells // 2 // pool
    means = x.new_zeros(len(x[0, 0, 0]), 4, side // 2 // pool, side // 2 // pool)
    rows = start + cells[:, None] * side + cells
    index = parity[:, None] * 2 + parity, place[:, None].expand_as(rows), place.expand_as(rows)
    means[(rows, *index)] = 1 / pool**2
    image = rearrange(x @ means.flatten(1), "b c t (ij d) -> b (c ij) t d", ij=4)
    weight, bias = _joint([m.q_seg for m in modules])
    y = F.conv2d(image, weight.flatten(1)[..., None, None], bias)
    if start:
        y = torch.cat([F.conv2d(x[..., :1], *_joint([m.q_cls for m in modules])), y], -1)
    return list(y.split([m.q_seg.out_channels for m in modules], 1))


def _halve(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve (B, C, T, y, x) as one image of T·y rows with stride 2; (B, out, T·y/2, x/2)."""
    arguments = [image, weight, bias]
    if not torch.is_grad_enabled():
        return F.conv2d(_rows(image), weight, bias, stride=2)
    if torch.is_autocast_enabled(image.device.type):
        dtype = torch.get_autocast_dtype(image.device.type)
        arguments = [None if t is None else t.to(dtype) for t in arguments]
    with torch.autocast(image.device.type, enabled=False):
        return cast(Tensor, _Halving.apply(*arguments))


def _rows(image: Tensor) -> Tensor:
    return rearrange(image, "b c t y x -> b c (t y) x")


class _Halving(torch.autograd.Function):
    """Convolve with stride 2; saves the given view in place of the copy that is convolved."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(image, weight)
        return F.conv2d(_rows(image), weight, bias, stride=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        grad_image = grad_weight = grad_bias = None
        with torch.autocast(grad.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                flat = _rows(image)
                grad_image = conv2d_input(flat.shape, weight, grad, stride=2)
                grad_image = rearrange(grad_image, "b c (t y) x -> b c t y x", t=image.shape[2])
            if ctx.needs_input_grad[1]:
                grad_weight = conv2d_weight(_rows(image), weight.shape, grad, stride=2)
            if ctx.needs_input_grad[2]:
                grad_bias = grad.sum((0, 2, 3))
        return grad_image, grad_weight, grad_bias


def _joint(convolutions: Sequence[nn.Conv2d | nn.Conv3d]) -> tuple[Tensor, Tensor | None]:
    """Join the weights and biases of 1x1 or depth-1 convolutions to those of one 2-d convolution."""
    weight = torch.cat([c.weight[:, :, 0] if c.weight.dim() == 5 else c.weight for c in convolutions])
    if all(c.bias is None for c in convolutions):
        return weight, None
    return weight, torch.cat([c.weight.new_zeros(c.out_channels) if c.bias is None else c.bias for c in convolutions])


class EfficientMaskedAttention(AttentionLayer):
    """Attention of downscaled support tokens to the kept ones, with a downscaled residual path (§3.3).

    Args: as those of `LearnableDownscaling`, and
        sequential: compute the heads one after the other.
    """

    def __init__(self, channels: int, out: int, pool: int, class_token: bool, sequential: bool = False):
        super().__init__()
        self.sequential = sequential
        hidden = out // 2
        down = LearnableDownscaling(channels, out, pool, class_token, bias=False)
        self.short_cut = nn.Sequential(down, norm(out), nn.ReLU())
        self.q = LearnableDownscaling(channels, hidden, pool, class_token, bias=True)
        self.kv = nn.Conv2d(channels, 2 * hidden, 1)
        self.agg = nn.Sequential(norm(hidden), nn.ReLU(), nn.Conv2d(hidden, out, 1, bias=False), norm(out), nn.ReLU())
        self.out_norm = norm(out)

    def reduce(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        down, bias = self.short_cut[0], self.kv.bias
        assert isinstance(down, LearnableDownscaling) and bias is not None
        short, q = downscale(x, [down, self.q])
        return short, self._attend(q, x, bias, keep)

    def reduce_correlation(self, query: Tensor, support: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        down, bias = self.short_cut[0], self.kv.bias
        assert isinstance(down, LearnableDownscaling) and not down.pool and bias is not None
        modules = [down, self.q]
        side = round((support.shape[2] - hasattr(down, "q_cls")) ** 0.5)
        short, q = halve_correlation(
            query,
            support,
            [m.q_seg.weight[:, :, 0] for m in modules],
            [m.token_biases((side // 2) ** 2) for m in modules],
            [m.q_cls.weight[..., 0, 0] for m in modules if hasattr(m, "q_cls")],
        )
        return short, self._attend(q, (query, support), bias, keep)

    def _attend(self, q: Tensor, x: Tensor | tuple[Tensor, Tensor], bias: Tensor, keep: Tensor) -> Tensor:
        """Attend with all heads at once or with one after the other; arguments as in `masked_attention`.

        `q` is lost where no gradient is wanted.
        """
        weight = self.kv.weight[..., 0, 0]
        if not self.sequential:
            return masked_attention(q, x, weight, bias, keep, HEADS, overwrite=True)
        weights, biases = (p.unflatten(0, (2, HEADS, -1)) for p in (weight, bias))  # keys and values of each head
        heads = zip(q.chunk(HEADS, 1), weights.unbind(1), biases.unbind(1), strict=True)
        return torch.cat([masked_attention(part, x, w.flatten(0, 1), b.flatten(), keep, 1) for part, w, b in heads], 1)

    def weights(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the attention (B, Ts) of one position, x (B, C, 1, Ts): mean over heads and downscaled queries."""
        hidden = self.q.q_seg.out_channels
        bias = self.kv.bias
        assert bias is not None
        q = rearrange(self.q(x), "b (h e) 1 d -> b h d e", h=HEADS)
        k = rearrange(F.conv2d(x, self.kv.weight[:hidden], bias[:hidden]), "b (h e) 1 m -> b h e m", h=HEADS)
        return (q @ k).masked_fill(~keep[:, None, None], -torch.inf).softmax(-1).mean((1, 2))
