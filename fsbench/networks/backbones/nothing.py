"""The backbone of methods that have none."""

from typing import Any

from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.base.tensor_cache import FeatureCache
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone


class NoBackbone(FrozenBackbone):
    """No network: images of every size are taken, and nothing is encoded.

    Args:
        config: not looked at, so that a data set whose configuration names a backbone does as well.
    """

    def __init__(self, config: BackboneConfig):
        self.name = "none"
        self.cache = FeatureCache(0, "float32", 0)
        self.cache_dtype = "float32"
        self.precision = "fp32"
        self.state = {}
        self.weights_id = "none"

    def check_image_size(self, size: int) -> None:
        if size < 1:
            raise SettingsError(f"image_size is {size}, expected 1 or more")

    def encode(self, pixels: Tensor) -> Any:
        raise SettingsError("the method has no backbone; expected one that encodes images")
