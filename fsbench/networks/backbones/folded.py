"""Frozen convolutional networks with their BatchNorms folded into the convolutions, computed channels last.

A BatchNorm in eval mode is an affine function of each channel, so that it and the convolution before it are one
convolution. Channels last, a 1 x 1 convolution is one matrix product without a copy of its input.

Shapes: B images, C channels, (h, w) a map.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """Fold the BatchNorms of a frozen network, let its convolutions compute channels last, and return the network.

    Its answers differ from those before in their last digits, and its weights have other names: it is neither trained
    nor saved.

    Args:
        network: in eval mode; its modules are called in the order in which they are defined, as far as a convolution
            and the BatchNorm behind it are concerned.
    """
    for parent in list(network.modules()):
        for (name, conv), (norm_name, norm) in itertools.pairwise(list(parent.named_children())):
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    for parent in list(network.modules()):
        for name, conv in list(parent.named_children()):
            if type(conv) is nn.Conv2d and _sees_single_pixels(conv):
                setattr(parent, name, PixelwiseConv2d(conv))
    return network.to(memory_format=torch.channels_last)


def _sees_single_pixels(conv: nn.Conv2d) -> bool:
    """Return whether a convolution maps every pixel by itself, and all of them."""
    return conv.kernel_size == conv.stride == (1, 1) and conv.padding == (0, 0) and conv.groups == 1


class PixelwiseConv2d(nn.Module):
    """1 x 1 convolution of maps (B, C, h, w), on a CPU as a matrix product, which is faster there channels last."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            y: Tensor = self.conv(x)
            return y
        return F.linear(x.permute(0, 2, 3, 1), self.conv.weight.flatten(1), self.conv.bias).permute(0, 3, 1, 2)
