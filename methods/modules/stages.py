"""Choice of a frozen network by name for PFENet and its followers: PSPNets, their trunks with ImageNet weights, and the
suite's pyramids.
"""

from typing import cast

from torch import Tensor, nn

from fsbench.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.backbones.pyramid import FrozenPyramid
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.errors import SettingsError
from methods.modules.frozen_pspnet import PSPNETS, TRUNKS, DilatedLayers, FrozenPSPNet, FrozenTrunk
from methods.modules.maps import resize
from methods.modules.pspnet import Features


class FrozenStages(FrozenPyramid):
    """A pyramid as features for HMNet without a base learner.

    A ResNet or Swin gives its last maps at 1/8, 1/16 and 1/32. The demo's ViT, whose scales are averages of the same
    tokens, gives the first, third and last of its last four blocks.
    """

    @property
    def widths(self) -> tuple[int, int]:
        """Return the channels of f1 and f2."""
        return self.channels[1], self.channels[2]

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Features]:
        return [self._chosen(*pyramid) for pyramid in super()._features_of_batch(model, images)]

    def _chosen(self, quarter: Tensor, eighth: Tensor, sixteenth: Tensor, last: Tensor) -> Features:
        """Return the maps of a pyramid that HMNet reads."""
        if self.spec.kind == "vit":
            return Features(eighth[0], eighth[2], eighth[3], None)
        return Features(eighth[-1], sixteenth[-1], last[-1], None)


def frozen_features(config: BackboneConfig) -> FrozenBackbone:
    """Build the frozen network `config.name`, which gives `Features`.

    Raises:
        SettingsError: it is unknown, or gives no features for HMNet.
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
    """Return the channels of a backbone's f1 and f2."""
    if isinstance(backbone, DilatedLayers):
        return backbone.channels[0], backbone.channels[1]
    return cast(FrozenStages, backbone).widths


def aligned(x: Features) -> Features:
    """Resize f1 to f2: VGG's f1 is twice as large as the others (§2.3)."""
    return x._replace(f1=resize(x.f1, x.f2.shape[-1]))
