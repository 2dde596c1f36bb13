"""The network that IFA learns: layers 2 and 3 of a dilated ResNet, on a frozen stem and layer 1 (ifa.md §1).

Shapes: b images, C channels of layer 3, (h, w) its map.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.released_format import ReleasedFormat
from fsbench.methods.modules.frozen_pspnet import TRUNKS, FrozenTrunk
from fsbench.methods.modules.learned_vit import LearnedTokens, OwnSizeViT
from fsbench.methods.modules.pspnet import BLOCKS, Bottleneck, Kind, resnet_layers
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import VITS

FIRST_DILATIONS = (1, 2)
"""Dilations of the first blocks of layers 3 and 4, where PFENet's followers have 2 and 4 (§1)."""
STEM_CONVOLUTIONS = 7
"""Modules of the stem before its last BatchNorm, which the authors keep together."""


class ImageNetLayers(FrozenTrunk):
    """ImageNet weights of a dilated ResNet, for images with sides that are a multiple of 8 pixels."""

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        if self.spec.kind == "vgg16":
            raise SettingsError("IFA's network is a ResNet; give --model.backbone.name dilated_resnet50 or _resnet101")

    def check_image_size(self, size: int) -> None:
        if size < 32 or size % 8:
            raise SettingsError(f"image size {size} does not fit IFA; expected a multiple of 8 from 32, or 400")


def backbone_weights(config: BackboneConfig) -> ImageNetLayers | OwnSizeViT:
    """Return the pretrained weights from which training of the network `config.name` starts.

    Raises:
        SettingsError: the network is unknown, or IFA cannot train it.
    """
    if config.name in TRUNKS:
        return ImageNetLayers(config)
    if config.name in VITS:
        return OwnSizeViT(config)
    names = ", ".join(name for name, spec in TRUNKS.items() if spec.kind != "vgg16")
    raise SettingsError(f"the backbone '{config.name}' cannot be learned by IFA; expected {names}, or the demo's ViT")


class SignedBottleneck(Bottleneck):
    """Residual block for the end of layer 3 of a ResNet, without its last ReLU, so that features are signed (§1)."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.bn3(self.conv3(y)) + shortcut
        return out


class LearnedResNet(nn.Module):
    """Layers 0 to 3 of a dilated ResNet; convolutions of layers 2 and 3 are learned (§1).

    BatchNorm stays in evaluation mode with the scale and shift that it begins with.

    Args:
        kind: name of the ResNet, such as `resnet50`.
        counts: number of blocks in each stage; None for those of the network `kind`.
    """

    def __init__(self, kind: Kind, counts: Sequence[int] | None = None):
        super().__init__()
        self.layer0, self.layer1, self.layer2, layer3, _ = resnet_layers(counts or BLOCKS[kind], FIRST_DILATIONS)
        last = SignedBottleneck(1024, 256, 1, 2, downsample=False)
        self.layer3 = nn.Sequential(*layer3[:-1], last)
        self.requires_grad_(False)
        for module in [*self.layer2.modules(), *self.layer3.modules()]:
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> "LearnedResNet":
        """Return the network itself in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (b, 1024, h, w), signed, of normalised images (b, 3, H, W); h is H / 8, rounded up."""
        with torch.no_grad():
            x = self.layer1(self.layer0(images))
        features: Tensor = self.layer3(self.layer2(x))
        return features

    @classmethod
    def from_weights(cls, weights: ImageNetLayers) -> "LearnedResNet":
        """Build the network with ImageNet weights."""
        network = cls(weights.spec.kind)
        network.load_state_dict({key: weights.state[key] for key in network.state_dict()})
        return network


def learned_network(weights: FrozenBackbone, vit_blocks: tuple[int, int]) -> LearnedResNet | LearnedTokens:
    """Build IFA's trainable network from pretrained weights: a ResNet, or the demo's ViT.

    Args:
        weights: the pretrained weights, from `backbone_weights`.
        vit_blocks: for a ViT, the numbers, from 0, of the first block that is learned and of the last block that is
            used.
    """
    if isinstance(weights, OwnSizeViT):
        return LearnedTokens(weights, vit_blocks)
    assert isinstance(weights, ImageNetLayers)
    return LearnedResNet.from_weights(weights)


class IFAReleasedFormat(ReleasedFormat):
    """Layout of IFA's published checkpoints: names without prefix, and the stem's convolutions in one module."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        if not {"layer0.0.0.weight", "layer0.1.weight", "layer3.0.conv1.weight"} <= state.keys():
            return None
        return {f"network.{own_name(key)}": value for key, value in state.items()}, {}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        return {released_name(key.removeprefix("network.")): value for key, value in learned.items()}


def own_name(key: str) -> str:
    """Return fsbench's name of a weight that has the name `key` in the authors' checkpoints.

    >>> own_name("layer0.0.6.weight"), own_name("layer0.1.bias"), own_name("layer1.0.conv1.weight")
    ('layer0.6.weight', 'layer0.7.bias', 'layer1.0.conv1.weight')
    """
    return re.sub(r"^layer0\.0\.", "layer0.", re.sub(r"^layer0\.1\.", f"layer0.{STEM_CONVOLUTIONS}.", key))


def released_name(key: str) -> str:
    """Return the authors' name of a weight that has the name `key` in fsbench, the reverse of `own_name`.

    >>> released_name("layer0.6.weight"), released_name("layer0.7.bias")
    ('layer0.0.6.weight', 'layer0.1.bias')
    """
    if key.startswith(norm := f"layer0.{STEM_CONVOLUTIONS}."):
        return key.replace(norm, "layer0.1.", 1)
    return re.sub(r"^layer0\.", "layer0.0.", key)


def learned_parameters(network: nn.Module) -> Iterable[nn.Parameter]:
    """Return those parameters of a network that require gradients."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
