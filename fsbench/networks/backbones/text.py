"""Texts for frozen networks: their tokens, CLIP's text encoder (segic.md §5), and a ViT with that encoder beside it.

Tokens are those of the hub's `tokenizer.json` beside the weights, or bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fsbench.base.errors import CheckpointError, SettingsError, describe
from fsbench.base.files import sha256_file
from fsbench.networks.backbones.base import BackboneConfig, WithSecondNetwork
from fsbench.networks.backbones.hub_networks import INSTALL, PACKAGE, FrozenHubNetwork, HubNet
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.networks.weights.table import WeightFile, weight_files

TOKENIZER = "tokenizer.json"
"""File of the tokens, beside the weights."""
BYTES_START, BYTES_END, BYTES_PADDING = 256, 257, 0
"""Tokens of start and end, and of padding, where texts are read byte by byte."""


@dataclass
class TextConfig(BackboneConfig):
    """Name and weights of a network that reads texts.

    Args:
        name, weights: name of the network, and its weight file (.pth, or the Hugging Face hub's model.safetensors),
            `random` or `random:SEED`; None for the published file in the folder `weights/`.
        tokenizer: the hub's file `tokenizer.json`; None for the file of that name beside the weights.
    """

    tokenizer: str | None = None


class Texts:
    """Tokenizer of a text network, which turns a text into token numbers and adds start and end tokens.

    Args:
        config: configuration of the network. With random weights, a text is tokenised byte by byte unless the
            configuration names a tokenizer.
        length: largest number of tokens; a longer text is cut, but keeps its end token.
        published: the network's published weight file.
        origin: where the tokenizer's file is from, for error messages.
    """

    def __init__(self, config: BackboneConfig, length: int, published: WeightFile, origin: str):
        self.name, self.length, self.origin = config.name, length, origin
        given, weights = getattr(config, "tokenizer", None), config.weights or ""
        self.file: Path | None = None
        if given:
            self.file = Path(given).expanduser()
        elif weights.split(":")[0] != "random":
            self.file = (Path(weights) if weights else published.path).with_name(TOKENIZER)
        self._tokenizer: Any = None

    @property
    def identity_settings(self) -> dict[str, str]:
        """{"tokenizer": sha256 of the tokenizer's file}, stored with results; empty if there is no such file.

        Results depend on the tokens that the tokenizer makes of a text.
        """
        return {} if self.file is None or not self.file.is_file() else {"tokenizer": sha256_file(self.file)}

    def tokens(self, text: str, known: int) -> list[int]:
        """Return the token numbers of a text, for a network with a vocabulary of `known` tokens.

        Raises:
            CheckpointError: the tokenizer's file is missing, damaged, or of another network.
        """
        if self.file is None:
            return [BYTES_START, *text.encode()[: self.length - 2], BYTES_END]
        if self._tokenizer is None:
            self._tokenizer = self._read(self.file, known)
        tokens: list[int] = self._tokenizer.encode(text).ids
        return tokens if len(tokens) <= self.length else [*tokens[: self.length - 1], tokens[-1]]

    def _read(self, file: Path, known: int) -> Any:
        expected = f"expected the {TOKENIZER} of {self.origin}; put it beside the weights or give its tokenizer"
        if not file.is_file():
            raise CheckpointError(f"{self.name} has no file {file} for its texts; {expected}")
        try:
            from tokenizers import Tokenizer  # comes with transformers

            tokenizer = Tokenizer.from_file(str(file))
            tokenizer.no_padding()
            tokenizer.no_truncation()
        except ModuleNotFoundError:
            raise SettingsError(f"{self.name} needs {PACKAGE}, which is not installed; {INSTALL}") from None
        except Exception as error:  # tokenizers raises its own
            raise CheckpointError(f"{file} cannot be used ({describe(error)}); {expected}") from error
        tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
        if tokens > known:
            raise CheckpointError(f"{file} has {tokens} tokens, but {self.name} knows {known}; {expected}")
        return tokenizer


CLIP_LENGTH = 77
"""Tokens of a text of CLIP, with padding."""
CLIP_TOKENS = "embeddings.token_embedding.weight"
"""Weights of CLIP with a row for each token that it knows."""


def clip_text(width: int, depth: int, heads: int, mlp: int, words: int, weights: WeightFile) -> HubNet:
    """Return the description of a text encoder of CLIP.

    Args:
        width, depth, heads, mlp: channels, number of blocks, heads and MLP width.
        words: size of the vocabulary; the last two tokens are start and end, and the end token also pads.
        weights: the published weight file.
    """
    settings = dict(
        vocab_size=words, hidden_size=width, intermediate_size=mlp, num_hidden_layers=depth, num_attention_heads=heads,
        max_position_embeddings=CLIP_LENGTH, hidden_act="quick_gelu", bos_token_id=words - 2, eos_token_id=words - 1,
        pad_token_id=words - 1,
    )  # fmt: skip
    return HubNet("CLIPTextModel", settings, weights)


CLIP_TEXTS = {
    "clip_text_vitl14": clip_text(768, 12, 12, 3072, 49408, weight_files()["clip_text_vitl14"]),
    # narrow, and of random weights alone: its tokens are bytes
    "clip_text_demo": clip_text(32, 2, 2, 64, BYTES_END + 1, WeightFile("clip_text_demo")),
}
"""Text encoders by their names."""


class FrozenClipText(FrozenHubNetwork):
    """Frozen text encoder of CLIP; it encodes no images."""

    known: ClassVar = CLIP_TEXTS
    called = "text encoder"

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        self._texts = Texts(config, CLIP_LENGTH, self.spec.weights, "openai/clip-vit-large-patch14 on the hub")

    @property
    def width(self) -> int:
        """Size of a text's embedding."""
        return int(self.spec.settings["hidden_size"])

    @property
    def identity_settings(self) -> dict[str, str]:
        return self._texts.identity_settings

    def pooled(self, text: str, device: torch.device) -> Tensor:
        """Return the embedding (width,) float32 of a text: the end token after the last LayerNorm, not projected.

        Raises:
            CheckpointError: the tokenizer's file is missing, damaged, or of another network.
        """
        end = int(self.spec.settings["eos_token_id"])
        tokens = self._texts.tokens(text, len(self.state[CLIP_TOKENS]))
        ids = torch.tensor([tokens + [end] * (CLIP_LENGTH - len(tokens))], device=device)
        model: Any = self.network(torch.empty(0, device=device))
        with torch.autocast(device.type, enabled=False), self.computing(device):  # whatever the run's precision
            return model(input_ids=ids).pooler_output[0].float()

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the text encoder's weights by transformers' names, from the weights of a whole CLIP."""
        start = "text_model."
        own = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        own.pop("embeddings.position_ids", None)
        return own or state


@dataclass
class ViTAndTextConfig(BackboneConfig):
    """Names and weights of a vision transformer and of the text encoder beside it.

    Args:
        name, weights, cache_mib, cache_dtype, precision: settings of the vision transformer, as in `BackboneConfig`.
            `precision` holds for the text encoder, too, and so does `weights: random` unless `text_weights` is given.
        text: name of the text encoder, a key of the table `CLIP_TEXTS`.
        text_weights: weight file of the text encoder, `random` or `random:SEED`; None for the published file in the
            folder `weights/`.
        tokenizer: file `tokenizer.json` of the text encoder; None for the file of that name beside its weights.
    """

    text: str = "clip_text_vitl14"
    text_weights: str | None = None
    tokenizer: str | None = None


class ViTAndText(WithSecondNetwork, FrozenViT):
    """Frozen ViT for images with a frozen text encoder for class names."""

    second_key = "text"
    text: FrozenClipText

    def build_second(self, config: BackboneConfig, weights: str | None) -> FrozenClipText:
        name, tokenizer = getattr(config, "text", ViTAndTextConfig.text), getattr(config, "tokenizer", None)
        self.text = FrozenClipText(TextConfig(name, weights, precision=config.precision, tokenizer=tokenizer))
        return self.text

    def encode_text(self, text: str, device: torch.device) -> Tensor:
        """Return the embedding (W,) of a text, from a cache if the text was encoded before."""
        return self.cache.get("text", (text, str(device)), lambda: self.text.pooled(text, device))
