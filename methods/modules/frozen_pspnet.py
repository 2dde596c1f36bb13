"""Frozen PSPNets and their trunks as backbones, with the files that hold their weights (hmnet.md §2).

Shapes: b images, c channels of f4, n base classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.base.files import sha256_file
from fsbench.core.released_format import TRAINED_ON
from fsbench.data.annotations import KnownOrNot
from fsbench.methods.modules.pspnet import WIDTH, Features, Kind, PSPNet
from fsbench.methods.modules.pspnet_weights import from_imagenet, to_hmnet_names
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import to_timm_names
from fsbench.networks.weights.files import check_keys, read_checkpoint, state_digest
from fsbench.networks.weights.table import WeightFile, weight_files

ANY_CLASSES = 60  # base classes of random weights: enough for every data set of the field


@dataclass(frozen=True)
class PSPNetSpec:
    """Description of a PSPNet and its weight file.

    Attributes:
        kind: architecture of the trunk: "resnet50", "resnet101" or "vgg16".
        channels: channels of the features f1 to f4 (layers 2, 3 and 4, and the last features before the classifier); 0
            if there is no f4.
        weights: the published weight file; a PSPNet has one for each data set and fold.
    """

    kind: Kind
    channels: tuple[int, int, int, int]
    weights: WeightFile


_PUBLISHED = weight_files()
PSPNETS = {
    "pspnet_resnet50": PSPNetSpec("resnet50", (512, 1024, 2048, WIDTH), _PUBLISHED["pspnet_resnet50"]),
    "pspnet_resnet101": PSPNetSpec("resnet101", (512, 1024, 2048, WIDTH), _PUBLISHED["pspnet_resnet101"]),
    "pspnet_vgg16": PSPNetSpec("vgg16", (256, 512, 512, WIDTH), _PUBLISHED["pspnet_vgg16"]),
}


class DilatedLayers(FrozenBackbone):
    """Base of frozen PSPNets, whose layers 0 to 4 encode one image to `Features` without a batch dimension."""

    spec: PSPNetSpec

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the features f1 to f4; 0 if there is no f4."""
        return self.spec.channels

    def check_image_size(self, size: int) -> None:
        if size % 8 != 1 or size < 9:
            raise SettingsError(f"image size {size} does not fit {self.name}; expected 8 n + 1, such as 473 or 633")

    def encode(self, pixels: Tensor) -> Features:
        """Encode a normalised image (3, H, W) to `Features`, maps (c, h, w) of several layers."""
        features: Features = super().encode(pixels)
        return features

    def last_layer(self, f2: Tensor) -> Tensor:
        """Apply the trunk's layer4 to layer3's output f2 (b, c, h, w), which may be masked: (b, c', h, w)."""
        assert self._size is not None
        layer4 = self.network(f2.new_empty(3, *self._size)).layer4
        assert isinstance(layer4, nn.Module)
        with self.computing(f2.device):
            return torch.cat([layer4(one) for one in f2.split(1)]).to(f2.dtype)  # singly, as images are encoded


class FrozenPSPNet(DilatedLayers):
    """Frozen PSPNet, trained to segment the base classes of a fold: a method's backbone and base learner in one."""

    def __init__(self, config: BackboneConfig):
        if config.name not in PSPNETS:
            raise SettingsError(f"'{config.name}' is no PSPNet; there are: {', '.join(PSPNETS)}")
        self.spec = PSPNETS[config.name]
        super().__init__(config)

    @property
    def classes(self) -> int:
        """Number of base classes that the base learner distinguishes."""
        return len(self.state["base_learner.2.bias"]) - 1

    def check_base_classes(self, asked: int) -> None:
        """Raise SettingsError unless the base learner has the test's number of base classes, `asked`.

        A base learner with random weights may have more base classes, of which the first `asked` are used.
        """
        if self.classes < asked or (self.classes > asked and not self.weights_id.startswith("random")):
            raise SettingsError(
                f"the backbone {self.weights_id} has {self.classes} base classes, the test asks for {asked}; give a "
                "PSPNet of this data set and fold"
            )

    def base_logits(self, f4: Tensor, training: bool) -> Tensor:
        """Classify f4 (b, c, h, w) into background and base classes (b, n + 1, h, w).

        The authors' dropout stays active in training, although nothing here is trained (§2.3).
        """
        weight, bias = (self.state[f"base_learner.2.{name}"].to(f4) for name in ("weight", "bias"))
        return F.conv2d(F.dropout2d(F.relu(f4), 0.1, training), weight, bias)

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return whether the weights were trained with labels of this data set's test classes: "no" or "unknown".

        The answer is "no" for random weights, and for weights that fsbench trained on this data set, because a fold
        that shows test classes is refused before a run. Other files do not say which classes they were trained on.
        """
        if self.weights_id.startswith("random"):
            return "no"
        return "no" if (self.trained_on or {}).get("dataset") == dataset else "unknown"

    @property
    def num_parameters(self) -> int:
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        return sum(tensor.numel() for key, tensor in self.state.items() if not key.endswith(buffers))

    @cached_property
    def digest(self) -> str:
        return state_digest(to_timm_names(self.state))

    def _build(self, height: int, width: int) -> nn.Module:
        model = PSPNet(self.spec.kind, self.classes)
        model.load_state_dict(self.state)
        return model.eval().requires_grad_(False)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Features]:
        return [Features(*maps) for maps in zip(*model(images), strict=True)]

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return PSPNet(self.spec.kind, ANY_CLASSES).state_dict()

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = to_hmnet_names(state)
        bias = state.get("base_learner.2.bias")
        if bias is None or bias.dim() != 1 or len(bias) < 2:
            raise CheckpointError(
                f"the weights for {self.name} hold no base learner (cls.4.* or base_learner.2.*); expected a PSPNet "
                "trained on base classes: train one with METHOD=pspnet, or give an authors' file"
            )
        with torch.device("meta"):
            own = PSPNet(self.spec.kind, len(bias) - 1).state_dict()
        counts = {k: torch.zeros((), dtype=torch.int64) for k in own if k.endswith("num_batches_tracked")}
        state = counts | state
        check_keys(own, state, f"backbone weights for {self.name}")
        return {key: state[key] for key in own}

    def _load(self, weights: str | None) -> tuple[Callable[[], dict[str, Tensor]], str]:
        path = Path(weights or "")
        if weights is None or weights.startswith("random") or path.suffix == ".safetensors" or not path.is_file():
            return super()._load(weights)
        checkpoint = read_checkpoint(path)  # authors' files and ours hold more than a plain state_dict
        self.trained_on = checkpoint.get(TRAINED_ON)
        return partial(dict, checkpoint["state_dict"]), f"{path.name} sha256 {sha256_file(path)}"


TRUNKS = {
    "dilated_resnet50": PSPNetSpec("resnet50", (512, 1024, 2048, 0), _PUBLISHED["dilated_resnet50"]),
    "dilated_resnet101": PSPNetSpec("resnet101", (512, 1024, 2048, 0), _PUBLISHED["dilated_resnet101"]),
    "dilated_vgg16": PSPNetSpec("vgg16", (256, 512, 512, 0), _PUBLISHED["dilated_vgg16"]),
}


class FrozenTrunk(DilatedLayers):
    """Layers 0 to 4 of a PSPNet with ImageNet weights, as a frozen network; it has features f1 to f3, but no f4.

    The base learner's training starts from these weights. They also give the features of PFENet, and of HMNet without a
    base learner (§7).
    """

    def __init__(self, config: BackboneConfig):
        if config.name not in TRUNKS:
            raise SettingsError(
                f"'{config.name}' is no dilated network; give --model.backbone.name {' or '.join(TRUNKS)}, "
                "and images of 8 n + 1 pixels a side (--data.image_size 129)"
            )
        self.spec = TRUNKS[config.name]
        super().__init__(config)

    def _build(self, height: int, width: int) -> nn.Module:
        model = PSPNet(self.spec.kind, 1)
        model.load_state_dict(self.state, strict=False)  # checked before; the rest is unused
        return model.eval().requires_grad_(False)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Features]:
        assert isinstance(model, PSPNet)
        return [Features(*maps, None) for maps in zip(*model.trunk(images), strict=True)]

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return PSPNet(self.spec.kind, 1).state_dict()

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return from_imagenet(self.spec.kind, state, f"ImageNet weights for {self.name}")
