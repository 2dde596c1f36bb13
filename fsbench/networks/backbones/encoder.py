"""Frozen networks that turn an image into one feature vector, for few-shot classification (fort.md §5).

Methods on fixed features call `Encoder.encode`; methods that tune the network take a copy of it by `Encoder.new_copy`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, find_spec
from fsbench.networks.backbones.dino_names import dino_to_timm_names
from fsbench.networks.backbones.timm_names import encoder_to_timm_names, without_buffers
from fsbench.networks.backbones.vit import VITS, ViT, build_vit, check_size, new_vit, random_state
from fsbench.networks.weights.files import check_keys
from fsbench.networks.weights.table import WeightFile, weight_files

FEATURE_VERSION = 2
"""Version of the code that an image's feature follows from: decoding, resizing, normalisation, the network. Raise it
when a feature changes, so that features stored by older code are encoded again; a test demands it."""


@dataclass(frozen=True)
class EncoderNet:
    """Network that timm builds by its name, for images of one size, and its official weight file.

    Attributes:
        timm: timm's name of the network.
        side: side of the images in pixels.
        outputs: width of its last layer, 0 without one.
        unit: True scales features to length 1.
        weights: the published weight file.
    """

    timm: str
    side: int
    outputs: int
    unit: bool
    weights: WeightFile


_PUBLISHED = weight_files()
ENCODERS = {
    "ibot_swin_tiny": EncoderNet(
        "swin_tiny_patch4_window7_224", side=224, outputs=0, unit=False, weights=_PUBLISHED["ibot_swin_tiny"]
    ),
    "clip_vitb16": EncoderNet(  # the image's part alone; another activation than the model without quickgelu (§5)
        "vit_base_patch16_clip_quickgelu_224", side=224, outputs=512, unit=True, weights=_PUBLISHED["clip_vitb16"]
    ),
}
"""Encoders besides the networks of `fsbench.networks.backbones.vit.VITS`."""


class Encoder(FrozenBackbone):
    """Frozen network with one feature vector (D,) for each image."""

    known: ClassVar = {**VITS, **ENCODERS}

    def __init__(self, config: BackboneConfig):
        refusal = f"unknown backbone '{config.name}' of a classifier"
        self.spec: Any = find_spec(config.name, self.known, (ViT, EncoderNet), refusal)
        super().__init__(config)

    @property
    def width(self) -> int:
        """Size D of a feature."""
        if isinstance(self.spec, EncoderNet):
            return self.spec.outputs or self.meta_network().num_features  # type: ignore[return-value]
        return int(self.spec.arguments["embed_dim"])

    def check_image_size(self, size: int) -> None:
        if not isinstance(self.spec, EncoderNet):
            check_size(self.spec.arguments["patch_size"], size, size)
        elif size != self.spec.side:
            raise SettingsError(f"image size is {size}, but {self.name} takes {self.spec.side} only")

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the feature (D,) float32 of a normalised image (3, H, W)."""
        feature: Tensor = super().encode(pixels)
        return feature

    def check_tunable(self) -> None:
        """Raise SettingsError for a network that cannot be fine-tuned here."""
        if isinstance(self.spec, EncoderNet) and self.spec.unit:
            raise SettingsError(f"{self.name} only gives features here; expected another backbone for fine-tuning")
        self.check_unnarrowed()

    def new_copy(self, pixels: Tensor) -> nn.Module:
        """Build a copy of the network, (B, 3, H, W) -> (B, D), for images like `pixels` (3, H, W), in eval mode."""
        return self._build(pixels.shape[1], pixels.shape[2]).to(pixels.device)

    def meta_network(self) -> nn.Module:
        """Build the network on the meta device, without memory for its weights."""
        if isinstance(self.spec, EncoderNet):
            model: nn.Module = build_encoder_network(self.spec, meta=True)
            return model
        return new_vit(self.spec.arguments, self.spec.image_size, shapes_alone=True)

    def _build(self, height: int, width: int) -> nn.Module:
        self.check_image_size(height)
        if not isinstance(self.spec, EncoderNet):
            return build_vit(self.spec.arguments, self.state, height, width)
        model = build_encoder_network(self.spec)
        model.load_state_dict({key: value.float() for key, value in self.state.items()}, strict=False)  # checked before
        return model.eval().requires_grad_(False)

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        feature: Tensor = model(images)[0]
        return F.normalize(feature, dim=-1) if isinstance(self.spec, EncoderNet) and self.spec.unit else feature

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        if not isinstance(self.spec, EncoderNet):
            return random_state(self.spec, seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return without_buffers(build_encoder_network(self.spec).state_dict())

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if not isinstance(self.spec, EncoderNet):
            state = dino_to_timm_names(state)
        else:
            state = encoder_to_timm_names(state, keep_head=bool(self.spec.outputs))
        check_keys(without_buffers(self.meta_network().state_dict()), state, f"backbone weights for {self.name}")
        return state


def build_encoder_network(spec: EncoderNet, meta: bool = False) -> Any:
    """Build timm's network with freshly initialized weights; no forward pass of it is random.

    Args:
        spec: the network.
        meta: build it without memory for its weights.
    """
    # timm takes seconds, which methods on other backbones are spared
    from fsbench.networks.backbones.timm_networks import create_model

    more: dict[str, Any] = {"drop_path_rate": 0.0} if spec.timm.startswith("swin") else {}
    if meta and spec.timm.startswith(("swin", "vit")):  # to "draw" weights without memory takes longer than the rest
        more["weight_init"] = "skip"
    with torch.device("meta") if meta else torch.device("cpu"):
        return create_model(spec.timm, pretrained=False, num_classes=spec.outputs, **more)
