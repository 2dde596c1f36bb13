"""Parts of the decoders of PFENet, BAM and HMNet (pfenet-method.md §3, hmnet.md §8).

Shapes: b samples, C model width, S feature side.
"""

import torch
from torch import Tensor, nn


def reduction(channels: int, width: int) -> nn.Sequential:
    """Build a 1x1 convolution without bias from `channels` to `width`, with ReLU."""
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.ReLU())


def dropped_reduction(channels: int, width: int, dropout: float = 0.5) -> nn.Sequential:
    """Build a 1x1 convolution from `channels` to `width` with ReLU, followed by dropout of whole channels."""
    return nn.Sequential(*reduction(channels, width), nn.Dropout2d(dropout))


def two_convolutions(width: int) -> nn.Sequential:
    """Build two 3x3 convolutions of `width` channels with ReLU, for a residual connection around them."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU()]
    return nn.Sequential(*layers)


def classifier(width: int) -> nn.Sequential:
    """Build the last layers, from C = `width` channels to logits of background and foreground."""
    conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (b, C, S, S) -> (b, 5C, S, S): global mean, 1x1 and dilated convolutions (§8)."""

    def __init__(self, width: int):
        super().__init__()
        for i, dilation in enumerate((0, 0, 6, 12, 18)):  # §8
            size = 3 if dilation else 1
            conv = nn.Conv2d(width, width, size, padding=dilation, dilation=max(dilation, 1))
            nn.init.kaiming_normal_(conv.weight)
            self.add_module(f"layer6_{i}", nn.Sequential(conv, nn.ReLU()))

    def forward(self, x: Tensor) -> Tensor:
        branches = list(self.children())
        overall = branches[0](x.mean((2, 3), keepdim=True)).expand_as(x)
        return torch.cat([overall, *(branch(x) for branch in branches[1:])], 1)
