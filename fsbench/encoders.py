"""Networks that turn an image into one feature vector: what few-shot classification stands on (fort.md §5).

Methods on fixed features ask `Encoder.encode`; methods that tune the network take a copy of it from `Encoder.fresh`.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.backbones import VITS, BackboneConfig, FrozenBackbone, build_vit, check_keys, check_size, random_state
from fsbench.errors import SettingsError
from fsbench.pyramids import BUFFERS, merging_one_later

PREFIXES = ("module.", "backbone.", "encoder.")
"""Before the names in files that wrap the network in something else."""


@dataclass(frozen=True)
class EncoderNet:
    """A network that timm builds by its name, for images of one size.

    `outputs` is the width of its last layer, 0 without one; `unit` scales features to length 1.
    """

    timm: str
    side: int
    outputs: int
    unit: bool
    file: str
    page: str
    url: str
    size: int = 0
    sha256: str = ""


ENCODERS = {
    "ibot_swin_tiny": EncoderNet(
        "swin_tiny_patch4_window7_224",
        side=224,
        outputs=0,
        unit=False,
        file="weights/ibot_swint_7_checkpoint_teacher.pth",
        page="https://github.com/bytedance/ibot",
        url="https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/archive/2022/ibot/swint_7/checkpoint_teacher.pth",
    ),
    "clip_vitb16": EncoderNet(  # the image's part alone; another activation than the model without quickgelu (§5)
        "vit_base_patch16_clip_quickgelu_224",
        side=224,
        outputs=512,
        unit=True,
        file="weights/vit_base_patch16_clip_quickgelu_224.openai.safetensors",
        page="https://huggingface.co/timm/vit_base_patch16_clip_224.openai",
        url="https://huggingface.co/timm/vit_base_patch16_clip_224.openai/resolve/main/model.safetensors",
    ),
}
"""Beside the networks of `fsbench.backbones.VITS`."""


class Encoder(FrozenBackbone):
    """A frozen network with one feature vector an image.

    `width` is the feature's size D.
    """

    def __init__(self, config: BackboneConfig):
        known = {**VITS, **ENCODERS}
        if config.name not in known:
            raise SettingsError(f"unknown backbone '{config.name}' of a classifier; there are: {', '.join(known)}")
        self.spec: Any = known[config.name]
        super().__init__(config)

    @property
    def width(self) -> int:
        if isinstance(self.spec, EncoderNet):
            return self.spec.outputs or self.outline().num_features  # type: ignore[return-value]
        return int(self.spec.arguments["embed_dim"])

    def check_image_size(self, size: int) -> None:
        if not isinstance(self.spec, EncoderNet):
            check_size(self.spec.arguments["patch_size"], size, size)
        elif size != self.spec.side:
            raise SettingsError(f"image size is {size}, but {self.name} takes {self.spec.side} only")

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised image (3, H, W) -> feature (D,) float32."""
        feature: Tensor = super().encode(pixels)
        return feature

    def check_tunable(self) -> None:
        """Raise SettingsError for a network that only gives features."""
        if isinstance(self.spec, EncoderNet) and self.spec.unit:
            raise SettingsError(f"{self.name} only gives features here; expected another backbone for fine-tuning")

    def fresh(self, pixels: Tensor) -> nn.Module:
        """A network of its own, images (B, 3, H, W) -> (B, D), for images like `pixels` (3, H, W), in eval mode."""
        return self._build(pixels.shape[1], pixels.shape[2]).to(pixels.device)

    def outline(self) -> nn.Module:
        """The network without memory for its weights."""
        if isinstance(self.spec, EncoderNet):
            model: nn.Module = new_network(self.spec, meta=True)
            return model
        return self._vit_outline()

    def _vit_outline(self) -> nn.Module:
        from timm.models.vision_transformer import VisionTransformer

        side = self.spec.table_side * self.spec.arguments["patch_size"]
        with torch.device("meta"):
            return VisionTransformer(**self.spec.arguments, img_size=side, num_classes=0)

    def _build(self, height: int, width: int) -> nn.Module:
        self.check_image_size(height)
        if not isinstance(self.spec, EncoderNet):
            return build_vit(self.spec.arguments, self.state, height, width)
        model = new_network(self.spec)
        model.load_state_dict({key: value.float() for key, value in self.state.items()}, strict=False)  # checked before
        return model.eval().requires_grad_(False)

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        feature: Tensor = model(images)[0]
        return F.normalize(feature, dim=-1) if isinstance(self.spec, EncoderNet) and self.spec.unit else feature

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        if not isinstance(self.spec, EncoderNet):
            return random_state(self.spec, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _stored(new_network(self.spec).state_dict())

    def _fitting(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if not isinstance(self.spec, EncoderNet):
            state = {key: value for key, value in state.items() if key != "mask_token"}
        else:
            state = renamed(state, keep_head=bool(self.spec.outputs))
        check_keys(_stored(self.outline().state_dict()), state, f"backbone weights for {self.name}")
        return state


def new_network(spec: EncoderNet, meta: bool = False) -> Any:
    """timm's network with fresh weights; without any memory where `meta`. Nothing in it is random once it runs."""
    from timm import create_model

    path: dict[str, Any] = {"drop_path_rate": 0.0} if spec.timm.startswith("swin") else {}
    with torch.device("meta" if meta else "cpu"):
        return create_model(spec.timm, pretrained=False, num_classes=spec.outputs, **path)


def renamed(state: dict[str, Tensor], keep_head: bool) -> dict[str, Tensor]:
    """Weights under the names of whoever stored them -> under timm's. What only pre-training needs is dropped."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    dropped = ("masked_embed", *(() if keep_head else ("head.",)))
    return merging_one_later({k: v for k, v in _stored(state).items() if not k.startswith(dropped)})


def _stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without buffers that follow from the architecture."""
    return {key: value for key, value in state.items() if not key.endswith(BUFFERS)}
