"""Which published weight files a method needs, and whether they are here; nothing is built, and torch is not loaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from fsbench.config.registry import aliases, config_files, names
from fsbench.weights.table import WeightFile, weight_files


@dataclass(frozen=True)
class NeededWeights:
    """A weight file that a method needs.

    Attributes:
        name: the backbone's name, by which `fsbench weights fetch` knows it.
        file: the published file.
    """

    name: str
    file: WeightFile

    @property
    def path(self) -> Path:
        """Usual place of the file."""
        return self.file.path

    @property
    def present(self) -> bool:
        """True if there is a file at its place; `fsbench weights check` says whether it is the published one."""
        return self.path.is_file()

    @property
    def command(self) -> str:
        """The command that fetches the file, or says what to do where no program can."""
        return fetch_command(self.name)


def fetch_command(name: str) -> str:
    """Return the command that brings the weights `name`."""
    return f"fsbench weights fetch {name}"


def backbone_name(method: str, dataset: str | None = None, backbone: str | None = None) -> str | None:
    """Return the name of the backbone that a run takes, as its configuration files say; None where none does.

    Raises:
        SettingsError: a name is unknown, or method and data set are for different tasks.
    """
    found = None
    for file in config_files(method, dataset, backbone=backbone):
        model = (yaml.safe_load(file.read_text()) or {}).get("model") or {}
        found = ((model.get("init_args") or {}).get("backbone") or {}).get("name") or found
    return found


def needed_weights(method: str, dataset: str | None = None, backbone: str | None = None) -> NeededWeights | None:
    """Return the weight file that a method needs; None for backbones whose weights come with the repository.

    Args:
        method: a method or an alias.
        dataset: the data set, which may bring a backbone along; None for the method's own.
        backbone: the backbone that is asked for; None for that of the method or the data set.

    Raises:
        SettingsError: a name is unknown, or method and data set are for different tasks.
    """
    name = backbone_name(method, dataset, backbone)
    file = weight_files().get(name or "")
    return NeededWeights(name, file) if name and file else None


def missing_weights(methods: Iterable[str], dataset: str | None = None) -> list[NeededWeights]:
    """Return what the methods need and is not here, each file once."""
    needed = [needed_weights(method, dataset) for method in methods]
    return list(dict.fromkeys(weights for weights in needed if weights and not weights.present))


def users() -> dict[str, list[str]]:
    """Return the methods and aliases that take each backbone of the table by themselves."""
    found: dict[str, list[str]] = {name: [] for name in weight_files()}
    for method in [*names("methods"), *aliases()]:
        name = backbone_name(method)
        if name in found:
            found[name].append(method)
    return found
