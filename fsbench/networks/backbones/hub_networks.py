"""Frozen networks that transformers builds: how the optional package is reached, and how weights are checked.

Nothing is fetched: weights are a file of the user's, under the names of transformers (the hub's form) or of the
network's authors, and every key and shape is checked before anything is computed.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec as find_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsbench.base.errors import SettingsError, describe
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, find_spec
from fsbench.networks.weights.table import WeightFile

PACKAGE = "transformers"
INSTALL = "pip install 'fsbench[promptable]'"


@dataclass(frozen=True)
class HubNet:
    """Description of a network from transformers, with its weight file.

    Attributes:
        model: name of the model's class in transformers.
        settings: arguments of the model's configuration; a dictionary for a part of it.
        weights: the published weight file.
    """

    model: str
    settings: Mapping[str, Any]
    weights: WeightFile


def transformers_class(name: str, needed_by: str) -> Any:
    """Import a class of transformers, which is optional and slow to import.

    Args:
        name: the name of the class.
        needed_by: what needs it, for the message.

    Raises:
        SettingsError: the package is not installed, or has not all that is needed.
    """
    try:
        import transformers
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        raise not_installed(needed_by) from None
    logging.disable_progress_bar()  # its lines would stand between those of the command
    logging.set_verbosity_error()
    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError) as error:
        raise SettingsError(
            f"the installed {PACKAGE} has not all that {needed_by} needs ({describe(error)}); {INSTALL}"
        ) from error


def is_installed() -> bool:
    """Return whether transformers is installed, without importing it."""
    return sys.modules.get(PACKAGE) is not None or (PACKAGE not in sys.modules and find_module(PACKAGE) is not None)


def not_installed(needed_by: str) -> SettingsError:
    """Return the error for a missing transformers."""
    return SettingsError(f"{needed_by} needs {PACKAGE}, which is not installed; {INSTALL}")


def new_network(net: HubNet, needed_by: str) -> nn.Module:
    """Build a network with first weights, in eval mode and frozen.

    Args:
        net: the network.
        needed_by: what needs it, for messages.
    """
    model_class = transformers_class(net.model, needed_by)
    settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in net.settings.items()}
    model: nn.Module = model_class(model_class.config_class(**settings))
    return model.eval().requires_grad_(False)


@contextmanager
def transformers_attention(config: Any, name: str, attention: Callable[..., Any]) -> Iterator[None]:
    """Replace the attention of transformers' modules within the block.

    Args:
        config: the config of the modules.
        name: the name of the attention among those of transformers.
        attention: called as transformers' own.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # optional, and heavy

    ALL_ATTENTION_FUNCTIONS.register(name, attention)
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def draw_weights(model: nn.Module) -> None:
    """Draw a network's weights from torch's generator, large enough that answers depend on the input.

    transformers' own first weights of SAM are so small (1e-10) that they do not. Layers get numbers of the standard
    deviation (inputs)^-1/2; embeddings and tables of positions 1; norms and biases stay as they are.
    """
    layers = {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                inputs = parameter[0].numel() if name in layers else 1
                parameter.copy_(torch.randn(parameter.shape) / inputs**0.5)


FAMILIES = {
    "SAM": r"(?:image_encoder\.blocks|vision_encoder\.layers)",
    "SAM 2": r"(?:image_encoder\.trunk|vision_encoder\.backbone)\.blocks",
    "SAM 3": r"(?:detector\.backbone\.vision_backbone\.trunk\.blocks|(?:detector_model\.)?"
    r"vision_encoder\.backbone\.layers)",
    "SegGPT": r"model\.encoder\.layers",
    "CLIP's text encoder": r"encoder\.layers",
}
"""Names of the blocks of families' encoders, Meta's and those of transformers."""


def describe_family(state: Mapping[str, Tensor]) -> str:
    """Describe weights, such as "SAM with 12 blocks of 768 channels"; "" for another family."""
    for family, blocks in FAMILIES.items():
        norm = re.compile(rf"{blocks}\.(\d+)\.(?:layer_?)?norm(?:1|_before)\.weight$")
        widths = {int(found[1]): len(value) for name, value in state.items() if (found := norm.match(name))}
        if widths:
            return f"{family} with {max(widths) + 1} blocks of {widths[min(widths)]} channels"
    return ""


class FrozenHubNetwork(FrozenBackbone):
    """Frozen network from transformers, the same for all image sizes.

    It is built when an image first needs it, maybe between two draws of a training, and so draws nothing itself.

    Subclasses say, where there are files of its authors, how their names are read (`own_names`).

    Attributes:
        kind: type of the descriptions of networks of this kind, `called` what they are called in messages.
    """

    kind: ClassVar[type[HubNet]] = HubNet
    called: ClassVar[str]
    spec: HubNet

    def __init__(self, config: BackboneConfig):
        self.spec = find_spec(config.name, self.known, self.kind, f"unknown {self.called} '{config.name}'")
        if not is_installed():
            raise not_installed(config.name)
        super().__init__(config)

    def network(self, pixels: Tensor) -> nn.Module:
        """Return the network on the device of `pixels`, in eval mode."""
        if self._model is None or next(self._model.parameters()).device != pixels.device:
            self._model = self._build(0, 0).to(pixels.device)
        return self._model

    def check_image_size(self, size: int) -> None:
        """Accept every size, since images are resized to the network's."""

    def new_network(self) -> nn.Module:
        """Build the network with first weights, frozen; subclasses may leave out parts that they do not use."""
        return new_network(self.spec, self.name)

    def draw_weights(self, model: nn.Module) -> None:
        draw_weights(model)

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        return describe_family(state)

    def _build(self, height: int, width: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            model = self.new_network()
        model.load_state_dict({key: value.float() for key, value in self.state.items()})
        return model
