"""Choice of a frozen network by name for PFENet and its followers: PSPNets, their trunks with ImageNet weights, and the
suite's pyramids.
"""

from typing import cast

from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.methods.modules.frozen_pspnet import PSPNETS, TRUNKS, DilatedLayers, FrozenPSPNet, FrozenTrunk
from fsbench.methods.modules.maps import resize
from fsbench.methods.modules.pspnet import Features
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import PYRAMIDS, FrozenPyramid, token_maps, vit_tokens


class FrozenStages(FrozenPyramid):
    """A pyramid network that takes the place of a PSPNet trunk, for methods without a base learner.

    f1, f2 and f3 are the last maps of a ResNet or Swin at 1/8, 1/16 and 1/32, or the outputs of three blocks of the
    demo's ViT.

    Attributes:
        vit_blocks: blocks of the ViT that give f1, f2 and f3, counted from 0, or negative from the end.
    """

    fine = False
    vit_blocks: tuple[int, int, int] = (-4, -2, -1)

    @property
    def widths(self) -> tuple[int, int]:
        """Return the numbers of channels of the features f1 and f2."""
        return self.channels[1], self.channels[2]

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Features]:
        if self.spec.kind == "vit":
            first, second, third = self.vit_blocks
            maps = [token_maps(tokens, images.shape[2] // 8) for tokens in vit_tokens(model, images)]
            return [Features(blocks[first], blocks[second], blocks[third], None) for blocks in maps]
        pyramids = super()._features_of_batch(model, images)
        return [Features(eighth[-1], sixteenth[-1], last[-1], None) for eighth, sixteenth, last in pyramids]


def frozen_features(config: BackboneConfig) -> FrozenBackbone:
    """Build the frozen network `config.name`, which encodes images to `Features` (f1 to f3, maybe f4).

    Raises:
        SettingsError: the network is unknown, or cannot give these features.
    """
    if config.name in PSPNETS:
        return FrozenPSPNet(config)
    if config.name in TRUNKS:
        return FrozenTrunk(config)
    if config.name in PYRAMIDS:
        return FrozenStages(config)
    known = ", ".join([*PSPNETS, *TRUNKS, *PYRAMIDS])
    raise SettingsError(f"the backbone '{config.name}' gives no features for HMNet; there are: {known}")


def widths(backbone: FrozenBackbone) -> tuple[int, int]:
    """Return the numbers of channels of a backbone's features f1 and f2."""
    if isinstance(backbone, DilatedLayers):
        return backbone.channels[0], backbone.channels[1]
    return cast(FrozenStages, backbone).widths


def aligned(x: Features) -> Features:
    """Return features whose f1 is resized to the size of f2; VGG's f1 is twice as large (§2.3)."""
    return x._replace(f1=resize(x.f1, x.f2.shape[-1]))
