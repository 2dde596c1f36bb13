"""A frozen SAM beside another frozen network: one configuration, one cache, one identity."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.sam import Encoding, FrozenSam, SamConfig

TRUST = ("random", "unverified", "unofficial", "official")
"""First words of the origins of weights; the least trusted one comes first, by which tables tell what figures mean."""


def joint_origin(origins: Mapping[str, str]) -> str:
    """Return the origin of the weights of several networks for records, the least trusted one first.

    Args:
        origins: network -> origin of its weights.
    """
    ranked = sorted(origins.items(), key=lambda origin: TRUST.index(origin[1].split()[0]))
    return ", ".join(f"{weights} of {name}" for name, weights in ranked)


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


class BesideSam(FrozenBackbone):
    """Base of frozen networks with a frozen SAM, whose encodings are kept in the same cache.

    A subclass has it before the network's own class.

    Attributes:
        sam: the promptable network.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        weights = getattr(config, "sam_weights", None)
        if weights is None and self.weights_id.startswith("random "):
            weights = config.weights
        self.sam = FrozenSam(
            SamConfig(
                name=getattr(config, "sam", BesideSamConfig.sam),
                weights=weights,
                cache_mib=config.cache_mib,
                precision=config.precision,
                prompts=getattr(config, "sam_prompts", SamConfig.prompts),
            )
        )
        self.sam.cache = self.cache
        self.weights_id = joint_origin({self.name: self.weights_id, self.sam.name: self.sam.weights_id})

    @property
    def identity_settings(self) -> dict[str, str]:
        settings = {f"sam_{key}": value for key, value in self.sam.identity_settings.items()}
        return {**super().identity_settings, "sam": self.sam.name, **settings}

    @property
    def num_parameters(self) -> int:
        return super().num_parameters + self.sam.num_parameters

    def encode_sam(self, name: str, image: Tensor) -> Encoding:
        """Return SAM's encoding of the image (3, H, W) uint8 of that name in the data set, kept or anew."""
        return self.sam.encoding(name, image)

    def replace_weights(self, state: dict[str, Tensor], weights_id: str) -> None:
        super().replace_weights(state, f"{weights_id}, {self.sam.weights_id} of {self.sam.name}")
