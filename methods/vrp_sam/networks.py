"""The frozen networks of VRP-SAM: a trunk whose last stages are dilated, and SAM beside it (vrp-sam.md §4, §2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError, known_names
from fsbench.methods.modules.frozen_pspnet import DilatedLayers, PSPNetSpec
from fsbench.methods.modules.pspnet import Features, Trunk
from fsbench.methods.modules.pspnet_weights import from_imagenet
from fsbench.methods.modules.stages import FrozenStages
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.sam import BesideSam, BesideSamConfig
from fsbench.networks.backbones.timm_networks import PYRAMIDS
from fsbench.networks.weights.table import weight_files

FIRST_DILATIONS = (1, 2)
"""Dilations of the first blocks of layers 3 and 4 of the ResNets, where PFENet's followers have 2 and 4 (§4)."""
_PUBLISHED = weight_files()
TRUNKS = {
    "vrp_resnet50": PSPNetSpec("resnet50", (512, 1024, 2048, 0), _PUBLISHED["vrp_resnet50"]),
    "vrp_resnet101": PSPNetSpec("resnet101", (512, 1024, 2048, 0), _PUBLISHED["vrp_resnet101"]),
    "vrp_vgg16": PSPNetSpec("vgg16", (256, 512, 512, 0), _PUBLISHED["vrp_vgg16"]),
}
"""The authors' backbones by their names here."""


class SquareSam(BesideSam):
    """Base of frozen networks beside a SAM that sees the same normalised image, stretched to its square (§2)."""

    def encode_square(self, pixels: Tensor) -> Tensor:
        """Return SAM's encoding (C, h, w) of a normalised image (3, H, W)."""
        return self.sam.promptable(pixels.device).encode_pixels(sam_square(pixels, self.sam.spec.side))[0][0]


def sam_square(pixels: Tensor, side: int) -> Tensor:
    """Stretch a normalised image (3, H, W) to SAM's side, bilinear with aligned corners, as the authors do (§2)."""
    return F.interpolate(pixels[None], (side, side), mode="bilinear", align_corners=True)[0]


class TrunkAndSam(SquareSam, DilatedLayers):
    """Layers 0 to 4 with ImageNet weights, and SAM; `Features` f1, f2 and f3 are the outputs of layers 2, 3 and 4."""

    def __init__(self, config: BackboneConfig):
        self.spec = TRUNKS[config.name]
        super().__init__(config)

    def check_image_size(self, size: int) -> None:
        if size < 16 or size % 8:
            raise SettingsError(f"image size {size} does not fit {self.name}; expected a multiple of 8 from 16, or 512")

    def _new_trunk(self) -> Trunk:
        return Trunk(self.spec.kind, FIRST_DILATIONS)

    def _build(self, height: int, width: int) -> nn.Module:
        model = self._new_trunk()
        model.load_state_dict(self.state)
        return model.eval().requires_grad_(False)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Features]:
        assert isinstance(model, Trunk)
        return [Features(*maps, None) for maps in zip(*model.trunk(images), strict=True)]

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self._new_trunk().state_dict()

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return from_imagenet(self.spec.kind, state, f"ImageNet weights for {self.name}")


class StagesAndSam(SquareSam, FrozenStages):
    """A pyramid of the suite as the trunk, ours, and SAM; its last layer cannot be had alone."""


def frozen_networks(config: BesideSamConfig) -> TrunkAndSam | StagesAndSam:
    """Build the frozen trunk `config.name` with SAM beside it.

    Raises:
        SettingsError: it is unknown, or SAM is not of the first generation.
    """
    if config.name not in TRUNKS and config.name not in PYRAMIDS:
        known = known_names(config.name, [*TRUNKS, *PYRAMIDS])
        raise SettingsError(f"the backbone '{config.name}' gives no features for VRP-SAM{known}")
    networks = TrunkAndSam(config) if config.name in TRUNKS else StagesAndSam(config)
    if networks.sam.spec.model != "SamModel":
        raise SettingsError(
            f"SAM beside the backbone is {networks.sam.name}; expected one of the first generation, such as sam_vit_h; "
            "set --model.backbone.sam"
        )
    return networks
