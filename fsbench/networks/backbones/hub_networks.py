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
    """Description of a network from the package transformers, with its weight file.

    Attributes:
        model: name of the model's class in transformers.
        settings: arguments of the model's configuration; nested dictionaries for its sub-configurations.
        weights: the published weight file.
    """

    model: str
    settings: Mapping[str, Any]
    weights: WeightFile


def transformers_class(name: str, needed_by: str) -> Any:
    """Import a class of transformers, which is optional and slow to import.

    Args:
        name: name of the class.
        needed_by: name of the network that needs the class, for the error message.

    Raises:
        SettingsError: transformers is not installed, or its version lacks the class.
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
    """Return the error that says that `needed_by` needs the package transformers, and how to install it."""
    return SettingsError(f"{needed_by} needs {PACKAGE}, which is not installed; {INSTALL}")


def new_network(net: HubNet, needed_by: str) -> nn.Module:
    """Build a network of transformers with its default initialisation, in eval mode and frozen.

    Args:
        net: description of the network.
        needed_by: name of what needs the network, for error messages.
    """
    model_class = transformers_class(net.model, needed_by)
    settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in net.settings.items()}
    model: nn.Module = model_class(model_class.config_class(**settings))
    return model.eval().requires_grad_(False)


@contextmanager
def transformers_attention(config: Any, name: str, attention: Callable[..., Any]) -> Iterator[None]:
    """Replace the attention function of transformers' modules within a `with` block.

    Args:
        config: configuration object of the modules.
        name: name under which the function is registered in transformers.
        attention: attention function with transformers' signature.
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
    """Draw a network's weights from torch's generator, large enough that outputs depend on the input.

    transformers' default weights of SAM are too small (1e-10) for that. Weights of layers are normal numbers with the
    standard deviation (number of inputs)^-1/2, embeddings and position tables with 1; norms and biases stay as they
    are.
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
    """Return in words which network the weights belong to, as "SAM with 12 blocks of 768 channels"; "" if unknown."""
    for family, blocks in FAMILIES.items():
        norm = re.compile(rf"{blocks}\.(\d+)\.(?:layer_?)?norm(?:1|_before)\.weight$")
        widths = {int(found[1]): len(value) for name, value in state.items() if (found := norm.match(name))}
        if widths:
            return f"{family} with {max(widths) + 1} blocks of {widths[min(widths)]} channels"
    return ""


class FrozenHubNetwork(FrozenBackbone):
    """Frozen network from the package transformers, which takes images of all sizes.

    The network is built when the first image is encoded, without drawing from torch's random generator. Subclasses
    define in `own_names` how the names in the authors' weight files are translated.

    Attributes:
        kind: class of the networks' descriptions, `HubNet` or a subclass.
        called: name of this kind of network in error messages.
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
            with torch.random.fork_rng(devices=[], enabled=self.builds_apart):
                self._model = self._build(0, 0).to(pixels.device)
        return self._model

    def check_image_size(self, size: int) -> None:
        """Accept every image size, because images are resized to the network's own."""

    def new_network(self) -> nn.Module:
        """Build the frozen network with its default initialisation; subclasses may leave out unused parts."""
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
