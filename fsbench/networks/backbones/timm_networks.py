"""timm's networks by their names."""

from typing import Any

from timm import __version__, create_model, is_model
from timm.models.resnet import Bottleneck, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import Attention, Block, VisionTransformer

from fsbench.base.errors import SettingsError

__all__ = [
    "Attention",
    "Block",
    "Bottleneck",
    "ResNet",
    "SwinTransformer",
    "VisionTransformer",
    "create_model",
    "create_network",
]


def create_network(network: str, **arguments: Any) -> Any:
    """Build the network that timm calls `network`, without weights of its own.

    Raises:
        SettingsError: the installed timm has no such network.
    """
    if not is_model(network):
        raise SettingsError(
            f"timm {__version__} has no network '{network}'; expected a version that has it; update it: "
            "pip install --upgrade timm"
        )
    return create_model(network, pretrained=False, **arguments)
