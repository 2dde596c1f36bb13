"""A frozen ViT whose tokens say where to look, and a frozen SAM beside it that is prompted there."""

from dataclasses import dataclass
from typing import ClassVar

from fsbench.networks.backbones.beside_sam import BesideSam, BesideSamConfig
from fsbench.networks.backbones.vit import FrozenViT


@dataclass
class ViTAndSamConfig(BesideSamConfig):
    """Names and weights of a vision transformer and of the promptable network beside it, see `BesideSamConfig`."""


class ViTAndSam(BesideSam, FrozenViT):
    """Frozen ViT with a frozen SAM."""

    encoders: ClassVar[tuple[str, ...]] = (*FrozenViT.encoders, "encode_sam")
