"""A frozen ViT that describes images, and a frozen text encoder beside it that describes classes by their names."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.beside import WithSecondNetwork
from fsbench.networks.backbones.clip_text import ClipTextConfig, FrozenClipText
from fsbench.networks.backbones.vit import FrozenViT


@dataclass
class ViTAndTextConfig(BackboneConfig):
    """Names and weights of a vision transformer and of the text encoder beside it.

    Args:
        name, weights, cache_mib, cache_dtype, spill_mib, precision: of the vision transformer, as of `BackboneConfig`;
            the text encoder computes in the same precision. Random weights are those of both, unless `text_weights`
            says otherwise.
        text: a key of `fsbench.networks.backbones.clip_text.CLIP_TEXTS`.
        text_weights: its weight file, `random` or `random:SEED`; None for the file's usual place.
        tokenizer: as of `ClipTextConfig`.
    """

    text: str = "clip_text_vitl14"
    text_weights: str | None = None
    tokenizer: str | None = None


class ViTAndText(WithSecondNetwork, FrozenViT):
    """Frozen ViT with a frozen text encoder, whose vectors are kept in the same cache."""

    second_key = "text"
    second: FrozenClipText

    @property
    def text(self) -> FrozenClipText:
        """Return the text encoder."""
        return self.second

    def build_second(self, config: BackboneConfig, weights: str | None) -> FrozenClipText:
        return FrozenClipText(
            ClipTextConfig(
                name=getattr(config, "text", ViTAndTextConfig.text),
                weights=weights,
                precision=config.precision,
                tokenizer=getattr(config, "tokenizer", None),
            )
        )

    @property
    def width(self) -> int:
        """Channels of a token."""
        return int(self.spec.arguments["embed_dim"])

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.spec.arguments["patch_size"])

    def encode_text(self, text: str, device: torch.device) -> Tensor:
        """Return the vector (W,) of a text, kept or anew."""
        return self.cache.get("text", text, lambda: self.text.pooled(text, device))
