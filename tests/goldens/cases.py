"""Cases of goldens: an entry of `index.json` with its file and its settings, which know those that nobody read."""

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


class Skipped(Exception):
    """Raised by a check if the case needs something that is missing; the message names it."""


class Config(dict[str, Any]):
    """Settings of a case, or one of them that has settings of its own, which know the entries that nobody read.

    Asking whether there is an entry is no reading of it.

    >>> config = Config({"steps": 2, "rates": {"head": 0.1, "rest": 0.2}, "seed": 3})
    >>> config["steps"], config["rates"]["head"], config.unread()
    (2, 0.1, ['rates.rest', 'seed'])
    """

    def __init__(self, entries: Mapping[str, Any]):
        super().__init__({name: _settings(value) for name, value in entries.items()})
        self._unread = set(entries)

    def __getitem__(self, name: str) -> Any:
        self._unread.discard(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry; the default where there is none, or null stands for none."""
        self._unread.discard(name)
        value = super().get(name)
        return default if value is None else value

    def __iter__(self) -> Iterator[str]:  # of its own, so that **config reads one entry after the other
        return super().__iter__()

    def __or__(self, others: Mapping[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return {**self, **others}

    def values(self) -> Any:
        """Read all values."""
        self._unread.clear()
        return super().values()

    def items(self) -> Any:
        """Read all entries."""
        self._unread.clear()
        return super().items()

    def unread(self, prefix: str = "") -> list[str]:
        """Return the names of the entries that nobody read, ascending, those of parts with a dot."""
        found = [prefix + name for name in self._unread]
        for name, value in super().items():
            parts = value if isinstance(value, list) else [value]
            if name not in self._unread:
                found += [own for part in parts if isinstance(part, Config) for own in part.unread(f"{prefix}{name}.")]
        return sorted(set(found))


def _settings(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Config(value)
    return [_settings(one) for one in value] if isinstance(value, list) else value


@dataclass
class Case:
    """One entry of `index.json` with its file.

    Attributes:
        folder: folder of the index.
        entry: the entry.
        lists: folder of the official lists, or None.
        tensors: tensors of the file by name (float16 as float32).
        data: content of a file without tensors, JSON or text.
        checked: names of the results that were compared.
    """

    folder: Path
    entry: dict[str, Any]
    lists: Path | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    data: Any = None
    checked: set[str] = field(default_factory=set)

    @cached_property
    def config(self) -> Config:
        """Settings of the case."""
        return Config(self.entry.get("config", {}))

    def read(self) -> None:
        """Read the file into `tensors` or `data`."""
        path = self.folder / self.entry["file"]
        if path.suffix == ".safetensors":
            self.tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(path).items()}
        else:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            self.data = json.loads(text) if ".json" in path.suffixes else text

    def state(self) -> dict[str, Tensor]:
        """Return the parameters under the authors' names."""
        return self.group("state.")

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix`, by the rest of the name."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def find_cases(folder: Path, kind: str | None, file: str | None, lists: Path | None) -> Iterator[Case]:
    """Yield the cases of `folder`, or of its subfolders if it has no index of its own."""
    indexes = [folder / "index.json"] if (folder / "index.json").is_file() else sorted(folder.glob("*/index.json"))
    for index in indexes:
        for entry in json.loads(index.read_text())["cases"]:
            if kind in (None, entry["kind"]) and file in (None, entry["file"]):
                yield Case(index.parent, entry, lists)


def official_lists(given: str | None) -> Path | None:
    """Return the folder of the official lists: as given, or `$FSBENCH_TEST_DATA/official-lists`."""
    if given:
        return Path(given)
    data = os.environ.get("FSBENCH_TEST_DATA")
    return Path(data) / "official-lists" if data else None
