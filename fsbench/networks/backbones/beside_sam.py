"""A frozen SAM beside another frozen network: one configuration, one cache, one identity."""

from dataclasses import dataclass

from torch import Tensor

from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.beside import WithSecondNetwork
from fsbench.networks.backbones.sam import Encoding, FrozenSam, SamConfig


@dataclass
class BesideSamConfig(BackboneConfig):
    """Names and weights of a network and of the promptable network beside it.

    Args:
        name, weights, cache_mib, cache_dtype, spill_mib, precision: of the network, as of `BackboneConfig`; what is
            kept of both networks shares one bound, and both compute in one precision. Random weights are those of
            both, unless `sam_weights` says otherwise.
        sam: a key of `fsbench.networks.backbones.sam.SAMS`.
        sam_weights: its weight file, `random` or `random:SEED`; None for the file's usual place.
        sam_prompts: prompts that its mask decoder takes at a time, see `SamConfig`.
    """

    sam: str = "sam_vit_h"
    sam_weights: str | None = None
    sam_prompts: int = SamConfig.prompts


class BesideSam(WithSecondNetwork):
    """Base of frozen networks with a frozen SAM, whose encodings are kept in the same cache.

    A subclass has it before the network's own class.
    """

    second_key = "sam"
    second: FrozenSam

    @property
    def sam(self) -> FrozenSam:
        """Return the promptable network."""
        return self.second

    def build_second(self, config: BackboneConfig, weights: str | None) -> FrozenSam:
        sam = FrozenSam(
            SamConfig(
                name=getattr(config, "sam", BesideSamConfig.sam),
                weights=weights,
                cache_mib=config.cache_mib,
                precision=config.precision,
                prompts=getattr(config, "sam_prompts", SamConfig.prompts),
            )
        )
        sam.cache = self.cache
        return sam

    def encode_sam(self, name: str, image: Tensor) -> Encoding:
        """Return SAM's encoding of the image (3, H, W) uint8 of that name in the data set, kept or anew."""
        return self.sam.encoding(name, image)
