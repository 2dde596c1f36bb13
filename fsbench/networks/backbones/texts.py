"""Tokens of texts for frozen networks that read them: the hub's `tokenizer.json` beside the weights, or bytes."""

from pathlib import Path
from typing import Any

from fsbench.base.errors import CheckpointError, SettingsError, describe
from fsbench.base.files import sha256_file
from fsbench.networks.backbones.hub_networks import INSTALL, PACKAGE
from fsbench.networks.weights.table import WeightFile

TOKENIZER = "tokenizer.json"
"""File of the tokens, beside the weights."""
BYTES_START, BYTES_END, BYTES_PADDING = 256, 257, 0


class Texts:
    """Turn texts into tokens with those of start and end.

    Args:
        name: of the network, for messages.
        length: tokens at most; of a longer text the last token stays.
        file: of the tokenizer; None reads texts byte by byte, for networks with random weights.
        origin: where the file is from, for messages.
    """

    def __init__(self, name: str, length: int, file: Path | None, origin: str):
        self.name, self.length, self.file, self.origin = name, length, file, origin
        self._tokenizer: Any = None

    @property
    def identity_settings(self) -> dict[str, str]:
        """Hash of the file, which decides what the network reads."""
        return {} if self.file is None or not self.file.is_file() else {"tokenizer": sha256_file(self.file)}

    def tokens(self, text: str, known: int) -> list[int]:
        """Return the tokens of a text, for a network that knows `known` of them.

        Raises:
            CheckpointError: the file is missing, damaged, or of another network.
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


def tokenizer_file(given: str | None, weights: str | None, published: WeightFile) -> Path | None:
    """Return the file of a network's tokenizer; None for random weights, which know no words.

    Args:
        given: the file, where the configuration names one.
        weights: of the configuration; None for the file's usual place.
        published: the network's published weight file.
    """
    if given:
        return Path(given).expanduser()
    weights = weights or ""
    if weights.split(":")[0] == "random":
        return None
    return (Path(weights) if weights else published.path).with_name(TOKENIZER)
