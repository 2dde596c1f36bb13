"""A protocol: the choices that make two figures comparable, written down in `configs/protocols/*.yaml`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args, get_type_hints

from fsbench.errors import SettingsError
from fsbench.metrics import VoidPolicy
from fsbench.paths import CONFIGS


@dataclass(frozen=True)
class Protocol:
    """See the comments in the YAML files for what each choice means.

    Attributes:
        name, version: together part of every record's identity; the version grows when a choice changes.
        sampler: rule that draws the episodes.
        episodes: number of test episodes (size-restricted settings have their own, smaller number).
        validation_episodes: number of fixed validation episodes.
        query_size: resolution of the metrics.
        void: what void pixels count as.
        presence: how presence follows from the mask for methods that only segment.
    """

    name: str
    version: int
    summary: str
    sampler: Literal["fscs"]
    episodes: int
    validation_episodes: int
    query_size: Literal["original"]
    void: VoidPolicy
    presence: Literal["any_pixel"]


def load_protocol(name: str) -> Protocol:
    """The protocol `name` of `configs/protocols`. Raises SettingsError for an unknown name or a bad value."""
    folder = CONFIGS / "protocols"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise SettingsError(f"unknown protocol '{name}'; there are: {known}")
    return read_protocol(path)


def read_protocol(path: Path) -> Protocol:
    """The protocol of a YAML file, every key present and of an allowed value."""
    import yaml

    values = yaml.safe_load(path.read_text())
    expected = {f.name for f in fields(Protocol)}
    if not isinstance(values, dict) or set(values) != expected:
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise SettingsError(f"{path}: found {found}, expected exactly the keys {sorted(expected)}")
    for key, hint in get_type_hints(Protocol).items():
        allowed = get_args(hint)
        if (allowed and values[key] not in allowed) or (not allowed and not isinstance(values[key], hint)):
            wanted = f"one of {', '.join(allowed)}" if allowed else hint.__name__
            raise SettingsError(f"{path}: {key} is {values[key]!r}, expected {wanted}")
    return Protocol(**values)
