"""placeholder"""
from typing import Any
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.ops.masked_attention import masked_attention
from methods._layers import HEADS, AttentionBlock, Learner, norm


class LearnableDownscaling(nn.Module):
    """Halve the support side with a strided convolution, then average-pool (emat.md §3.3, `Down`).

    (B, C, T, Ts) -> (B, C', T, Td); the class token goes through a linear map of its own.
    """

    def __init__(self, channels: int, out: int, pool: int, class_token: bool, bias: bool):
        super().__init__()
        self.pool = pool
        if class_token:
            self.q_cls = nn.Conv2d(channels, out, 1, bias=bias)
        self.q_seg = nn.Conv3d(channels, out, (1, 2, 2), stride=(1, 2, 2), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        cls = (self.q_cls.weight, self.q_cls.bias) if hasattr(self, "q_cls") else None
        return downscale(x, (self.q_seg.weight, self.q_seg.bias), cls, self.pool)


def downscale(x, seg, cls, pool):
    image = x[..., 1:] if cls else x
    side = round(image.shape[-1] ** 0.5)
    y = F.conv3d(image.unflatten(-1, (side, side)), *seg, stride=(1, 2, 2))
    if pool:
        y = F.avg_pool3d(y, (1, pool, pool))
    y = y.flatten(3)
    if cls:
        y = torch.cat([F.conv2d(x[..., :1], *cls), y], -1)
    return y


class EfficientMaskedAttention(nn.Module):
    def __init__(self, channels: int, out: int, pool: int, class_token: bool):
        super().__init__()
        hidden = out // 2
        self.class_token = class_token
        self.short_cut = nn.Sequential(
            LearnableDownscaling(channels, out, pool, class_token, bias=False), norm(out), nn.ReLU()
        )
        self.q = LearnableDownscaling(channels, hidden, pool, class_token, bias=True)
        self.kv = nn.Conv2d(channels, 2 * hidden, 1)
        self.agg = nn.Sequential(norm(hidden), nn.ReLU(), nn.Conv2d(hidden, out, 1, bias=False), norm(out), nn.ReLU())
        self.out_norm = norm(out)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        attended = masked_attention(self.q(x), x, self.kv.weight[..., 0, 0], self.kv.bias, keep, HEADS)
        return self.out_norm(self.agg(attended) + self.short_cut(x))

def emat_learner(channels, side, class_token=True):
    return Learner([
        AttentionBlock(EfficientMaskedAttention(channels, 64, 0, class_token), 64, side),
        AttentionBlock(EfficientMaskedAttention(64, 32, side//4, class_token), 32, side//2)], 32, class_token)
