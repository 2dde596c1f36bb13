"""PSPNet with a dilated ResNet or VGG16-bn: the network of HMNet's features and of its base learner (hmnet.md §2).

Module names are those of HMNet's checkpoints: `layer0..4`, `ppm`, `cls`, `base_learner`.

Shapes: b images, c channels of layer4, n base classes.
"""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 512  # channels of `cls`, §2.3
CUTS = (0, 7, 14, 24, 34, 43)  # layers of VGG16-bn by module index, §2.2


class Bottleneck(nn.Module):
    """Bottleneck residual block of a ResNet; stride and dilation are those of its 3x3 convolution (§2.1)."""

    def __init__(self, channels: int, planes: int, stride: int, dilation: int, downsample: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if downsample:
            shortcut = nn.Conv2d(channels, 4 * planes, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * planes))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


Kind = Literal["resnet50", "resnet101", "vgg16"]
"""Networks of a trunk."""


def resnet_layers(
    counts: Sequence[int] = (3, 4, 6, 3), first_dilations: tuple[int, int] = (2, 4)
) -> list[nn.Sequential]:
    """Build the five layers of a ResNet with a deep stem, whose last two stages are dilated by 2 and 4 (§2.1).

    Args:
        counts: blocks of each stage.
        first_dilations: dilation of the first block in each of the last two stages; VRP-SAM has 1 and 2.
    """
    stem: list[nn.Module] = []
    for channels, out, stride in ((3, 64, 2), (64, 64, 1), (64, 128, 1)):
        stem += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    layers = [nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))]
    channels = 128
    stages = zip((64, 128, 256, 512), counts, (1, 2, 1, 1), (1, 1, *first_dilations), (1, 1, 2, 4), strict=True)
    for planes, blocks, stride, first_dilation, dilation in stages:
        first = Bottleneck(channels, planes, stride, first_dilation, downsample=True)
        channels = 4 * planes
        rest = (Bottleneck(channels, planes, 1, dilation, downsample=False) for _ in range(blocks - 1))
        layers.append(nn.Sequential(first, *rest))
    return layers


def vgg16_layers() -> list[nn.Sequential]:
    """Build the five layers of VGG16 with BatchNorm, without the fifth pooling; pooling rounds sizes up (§2.2)."""
    modules: list[nn.Module] = []
    channels = 3
    for out in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if out:
            modules += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        else:
            modules.append(nn.MaxPool2d(2, 2, ceil_mode=True))
    return [nn.Sequential(*modules[start:end]) for start, end in itertools.pairwise(CUTS)]


class PyramidPooling(nn.Module):
    """Pyramid pooling: join features with their averages over grids of several sizes, (b, c, h, w) -> (b, 2c, h, w)."""

    def __init__(self, channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)):
        super().__init__()
        out = channels // len(bins)
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(n), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
            )
            for n in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = [F.interpolate(f(x), x.shape[-2:], mode="bilinear", align_corners=True) for f in self.features]
        return torch.cat([x, *pooled], 1)


class Features(NamedTuple):
    """Backbone features of a PSPNet: f1, f2 and f3 are the outputs of layer2, layer3 and layer4 (§2.3).

    f4 are the features before the last layer of the base learner; None without one.
    """

    f1: Tensor
    f2: Tensor
    f3: Tensor
    f4: Tensor | None


BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Blocks of the stages of ResNets."""


class Trunk(nn.Module):
    """Layers 0 to 4 of a PSPNet, without pyramid pooling and classifier.

    Args:
        kind: architecture: "resnet50", "resnet101" or "vgg16".
        first_dilations: for a ResNet, dilation of the first block in each of the last two stages.
        counts: for a ResNet, number of blocks in each stage; None for those of the architecture.
    """

    def __init__(self, kind: Kind, first_dilations: tuple[int, int] = (2, 4), counts: Sequence[int] | None = None):
        super().__init__()
        layers = vgg16_layers() if kind == "vgg16" else resnet_layers(counts or BLOCKS[kind], first_dilations)
        self.layer0, self.layer1, self.layer2, self.layer3, self.layer4 = layers

    def middle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs f1 of layer2 and f2 of layer3, (b, c, h, w) each, for normalised images (b, 3, H, W)."""
        f1 = self.layer2(self.layer1(self.layer0(images)))
        return f1, self.layer3(f1)

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs f1, f2 and f3 of layers 2, 3 and 4, (b, c, h, w) each, for images (b, 3, H, W)."""
        f1, f2 = self.middle(images)
        return f1, f2, self.layer4(f2)


class PSPNet(Trunk):
    """PSPNet for semantic segmentation of n base classes; class 0 is background.

    Args:
        kind: architecture of the trunk: "resnet50", "resnet101" or "vgg16".
        classes: n, number of base classes.
        width: number of channels of the features f4 before the last layer.
    """

    def __init__(self, kind: Kind, classes: int, width: int = WIDTH):
        super().__init__(kind)
        channels = 512 if kind == "vgg16" else 2048
        self.ppm = PyramidPooling(channels)
        self.cls = nn.Sequential(nn.Conv2d(2 * channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.base_learner = base_head(width, classes)

    def forward(self, images: Tensor) -> Features:
        f1, f2, f3 = self.trunk(images)
        return Features(f1, f2, f3, self.cls(self.ppm(f3)))

    def segment(self, images: Tensor) -> Tensor:
        """Return the logits (b, n + 1, h, w) of background and base classes for normalised images (b, 3, H, W)."""
        logits: Tensor = self.base_learner(self(images).f4)
        return logits


def base_head(channels: int, classes: int) -> nn.Sequential:
    """Build the last layers of PSPNet, from features f4 to logits of background and `classes` base classes."""
    return nn.Sequential(nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(channels, classes + 1, 1))
