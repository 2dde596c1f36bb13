"""timm's networks, imported without Weights & Biases.

timm imports wandb wherever that is installed, for a function that this suite never calls. It would cost every process
over a second of processor time, and a temporary folder that a killed process leaves behind. So all of the suite takes
timm's names from here; a run that logs to Weights & Biases imports wandb itself (`fsbench.engine.loggers`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fsbench.errors import SettingsError
from fsbench.spared_imports import spared_imports


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let `import module` raise ImportError within the block, as if it were not installed.

    A module that is imported already is not hidden. Other threads must not import it meanwhile.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own sign for a module that must not be imported
    try:
        yield
    finally:
        del sys.modules[module]


with hidden("wandb"), spared_imports():
    from timm import __version__, create_model, is_model
    from timm.models.resnet import Bottleneck, ResNet
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.vision_transformer import VisionTransformer

__all__ = ["Bottleneck", "ResNet", "SwinTransformer", "VisionTransformer", "create_model", "create_named", "hidden"]


def create_named(network: str, **arguments: Any) -> Any:
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
