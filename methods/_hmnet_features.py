"""Which frozen networks HMNet stands on: PSPNets, their trunks with ImageNet weights, and the suite's pyramids."""

from typing import cast

from torch import Tensor, nn

from fsbench.backbones import BackboneConfig, FrozenBackbone
from fsbench.errors import SettingsError
from fsbench.pyramids import PYRAMIDS, FrozenPyramid
from methods._pspnet import PSPNETS, TRUNKS, Features, FrozenPSPNet, FrozenTrunk


class FrozenStages(FrozenPyramid):
    """A pyramid as features without base learner: of a ResNet or Swin the last maps at 1/8, 1/16 and 1/32; of the
    demo's ViT, whose scales are averages of the same tokens, the first, third and last of its last four blocks."""

    @property
    def widths(self) -> tuple[int, int]:
        """Channels of f1 and f2."""
        return self.channels[1], self.channels[2]

    def _features(self, model: nn.Module, images: Tensor) -> Features:  # type: ignore[override]
        _, eighth, sixteenth, last = super()._features(model, images)
        if self.spec.kind == "vit":
            return Features(eighth[0], eighth[2], eighth[3], None)
        return Features(eighth[-1], sixteenth[-1], last[-1], None)


def frozen_features(config: BackboneConfig) -> FrozenBackbone:
    """The backbone `config.name`, which gives `Features`. Raises SettingsError for an unknown one."""
    if config.name in PSPNETS:
        return FrozenPSPNet(config)
    if config.name in TRUNKS:
        return FrozenTrunk(config)
    if config.name in PYRAMIDS:
        return FrozenStages(config)
    known = ", ".join([*PSPNETS, *TRUNKS, *PYRAMIDS])
    raise SettingsError(f"the backbone '{config.name}' gives no features for HMNet; there are: {known}")


def widths(backbone: FrozenBackbone) -> tuple[int, int]:
    """Channels of f1 and f2."""
    if isinstance(backbone, FrozenPSPNet | FrozenTrunk):
        return backbone.channels[0], backbone.channels[1]
    return cast(FrozenStages, backbone).widths
