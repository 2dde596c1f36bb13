"""A frozen network with another one beside it: one configuration, one precision, one identity."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone

TRUST = ("random", "unverified", "unofficial", "official")
"""First words of the origins of weights; the least trusted one comes first, by which tables tell what figures mean."""


def joint_origin(origins: Mapping[str, str]) -> str:
    """Return the origin of the weights of several networks for records, the least trusted one first.

    Args:
        origins: network -> origin of its weights.
    """
    ranked = sorted(origins.items(), key=lambda origin: TRUST.index(origin[1].split()[0]))
    return ", ".join(f"{weights} of {name}" for name, weights in ranked)


class WithSecondNetwork(FrozenBackbone):
    """Base of frozen networks with a second one.

    A subclass has it before the network's own class.

    Attributes:
        second_key: name of the second network in configurations (`<key>`, `<key>_weights`) and identities.
        second: the second network.
    """

    second_key: ClassVar[str]
    second: FrozenBackbone

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        weights = getattr(config, f"{self.second_key}_weights", None)
        if weights is None and self.weights_id.startswith("random "):
            weights = config.weights
        self.second = self.build_second(config, weights)
        self.weights_id = joint_origin({self.name: self.weights_id, self.second.name: self.second.weights_id})

    def build_second(self, config: BackboneConfig, weights: str | None) -> FrozenBackbone:
        """Build the second network.

        Args:
            config: of both.
            weights: of the second one: its file, `random` or `random:SEED`; None for the file's usual place.
        """
        raise NotImplementedError

    @property
    def identity_settings(self) -> dict[str, str]:
        settings = {f"{self.second_key}_{key}": value for key, value in self.second.identity_settings.items()}
        return {**super().identity_settings, self.second_key: self.second.name, **settings}

    @property
    def num_parameters(self) -> int:
        return super().num_parameters + self.second.num_parameters

    def replace_weights(self, state: dict[str, Tensor], weights_id: str) -> None:
        super().replace_weights(state, f"{weights_id}, {self.second.weights_id} of {self.second.name}")
