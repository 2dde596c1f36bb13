"""CLIP's text encoder, frozen: a vector of a text, as SegIC takes it (segic.md §5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsbench.networks.backbones.base import BackboneConfig, find_spec
from fsbench.networks.backbones.hub_networks import FrozenHubNetwork, HubNet
from fsbench.networks.backbones.texts import BYTES_END, BYTES_START, Texts, tokenizer_file
from fsbench.networks.weights.table import WeightFile, weight_files

LENGTH = 77
"""Tokens of a text, with padding."""
TOKENS = "embeddings.token_embedding.weight"
"""Weights with a row for each token that the network knows."""


@dataclass
class ClipTextConfig(BackboneConfig):
    """Name and weights of a text encoder.

    Args:
        name: a key of `CLIP_TEXTS`.
        weights: weight file of the hub's form (model.safetensors), which may hold CLIP's image encoder, too; otherwise
            as of `BackboneConfig`.
        tokenizer: the hub's `tokenizer.json`; None for the file of that name beside the weights. Networks with random
            weights read texts byte by byte.
    """

    name: str = "clip_text_vitl14"
    tokenizer: str | None = None


def clip_text(width: int, depth: int, heads: int, mlp: int, words: int, weights: WeightFile) -> HubNet:
    """Describe a text encoder of CLIP.

    Args:
        width, depth, heads, mlp: of its blocks.
        words: tokens that it knows; the last two are those of start and end, and the last one pads.
        weights: the published weight file.
    """
    settings = dict(
        vocab_size=words, hidden_size=width, intermediate_size=mlp, num_hidden_layers=depth, num_attention_heads=heads,
        max_position_embeddings=LENGTH, hidden_act="quick_gelu", bos_token_id=words - 2, eos_token_id=words - 1,
        pad_token_id=words - 1,
    )  # fmt: skip
    return HubNet("CLIPTextModel", settings, weights)


CLIP_TEXTS = {
    "clip_text_vitl14": clip_text(768, 12, 12, 3072, 49408, weight_files()["clip_text_vitl14"]),
    # narrow, and of random weights alone
    "clip_text_demo": clip_text(32, 2, 2, 64, BYTES_END + 1, WeightFile("clip_text_demo")),
}
"""Text encoders by their names."""
assert BYTES_START == BYTES_END - 1


class FrozenClipText(FrozenHubNetwork):
    """Frozen text encoder of CLIP. It sees no images."""

    known: ClassVar = CLIP_TEXTS
    encoders = ()
    spec: HubNet

    def __init__(self, config: BackboneConfig):
        self.spec = find_spec(config.name, CLIP_TEXTS, HubNet, f"unknown text encoder '{config.name}'")
        file = tokenizer_file(getattr(config, "tokenizer", None), config.weights, self.spec.weights)
        self._texts = Texts(config.name, LENGTH, file, "openai/clip-vit-large-patch14 on the hub")
        super().__init__(config)

    @property
    def width(self) -> int:
        """Width of a text's vector."""
        return int(self.spec.settings["hidden_size"])

    @property
    def identity_settings(self) -> dict[str, str]:
        return self._texts.identity_settings

    def pooled(self, text: str, device: torch.device) -> Tensor:
        """Return the vector (width,) float32 of a text: the final LayerNorm's at its end, before CLIP's projection.

        Raises:
            CheckpointError: the text's tokens cannot be read.
        """
        end = int(self.spec.settings["eos_token_id"])
        tokens = self._texts.tokens(text, len(self.state[TOKENS]))
        ids = torch.tensor([tokens + [end] * (LENGTH - len(tokens))], device=device)
        model: Any = self.network(torch.empty(0, device=device))
        with torch.autocast(device.type, enabled=False), self.computing(device):  # whatever the run's precision
            return model(input_ids=ids).pooler_output[0].float()

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the text encoder's weights under the names of transformers, from a file of CLIP as a whole."""
        whole = any(name.startswith("text_model.") for name in state)
        if not whole:
            return state
        own = {
            name.removeprefix("text_model."): value for name, value in state.items() if name.startswith("text_model.")
        }
        return {name: value for name, value in own.items() if name != "embeddings.position_ids"}

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        for prefix in ("", "text_model."):
            if (words := state.get(prefix + TOKENS)) is not None:
                start = f"{prefix}encoder.layers."
                depth = len({name.removeprefix(start).split(".")[0] for name in state if name.startswith(start)})
                return f"CLIP's text encoder with {depth} blocks of {words.shape[1]} channels"
        return ""
