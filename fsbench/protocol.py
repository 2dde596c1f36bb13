"""A protocol: the choices that make two figures comparable, written down in `configs/protocols/*.yaml`."""

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fsbench.counts import VoidPolicy
from fsbench.errors import SettingsError
from fsbench.paths import CONFIGS

Sampler = Literal["fscs", "hsnet", "pfenet"]
Resize = Literal["pil", "cv2"]
OTHERS = "others"
"""Key of a per-dataset setting that holds for data sets that are not named."""


@dataclass(frozen=True)
class Protocol:
    """`fsbench protocols` says what follows from each choice.

    Attributes:
        name, version: together part of every record's identity; the version grows when a choice changes.
        sampler: rule that draws the episodes.
        seed: of the sampler; None where every episode is seeded with its own index.
        streams: by data set, number of random streams that take turns (loader processes of the official program).
        episodes: by data set, number of test and of validation episodes, or "all" for one per listed pair.
            Size-restricted settings have their own, smaller number.
        ways: "any" number of classes in an episode, or "one".
        empty_queries: whether a query may show none of its episode's classes.
        settings: evaluation settings that are defined.
        resize: how images and masks become S x S.
        query_size: resolution of the metrics: the query's "original" size or the method's "input" size.
        void: what void pixels count as.
        shots: who turns K shots into one answer.
        presence: how presence follows from the mask for methods that only segment.
        averaging: what is summed before intersections are divided by unions.
    """

    name: str
    version: int
    summary: str
    sampler: Sampler
    seed: int | None
    streams: dict[str, int]
    episodes: dict[str, int | Literal["all"]]
    ways: Literal["any", "one"]
    empty_queries: bool
    settings: Literal["fscs", "original"]
    resize: Resize
    query_size: Literal["original", "input"]
    void: VoidPolicy
    shots: Literal["method"]
    presence: Literal["any_pixel"]
    averaging: Literal["class_sums"]

    def episode_count(self, dataset: str, pairs: int) -> int:
        """Number of episodes on `dataset`, whose list has `pairs` (image, class) pairs."""
        count = self.episodes.get(dataset, self.episodes[OTHERS])
        return pairs if count == "all" else count


def protocol_names() -> list[str]:
    return sorted(path.stem for path in (CONFIGS / "protocols").glob("*.yaml"))


@cache
def load_protocol(name: str) -> Protocol:
    """The protocol `name` of `configs/protocols`. Raises SettingsError for an unknown name or a bad value."""
    path = CONFIGS / "protocols" / f"{name}.yaml"
    if not path.is_file():
        raise SettingsError(f"unknown protocol '{name}'; there are: {', '.join(protocol_names())}")
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
        if not _fits(values[key], hint):
            raise SettingsError(f"{path}: {key} is {values[key]!r}, expected {_wanted(hint)}")
        if get_origin(hint) is dict and OTHERS not in values[key]:
            raise SettingsError(f"{path}: {key} has {', '.join(values[key])}, expected an entry '{OTHERS}', too")
    return Protocol(**values)


def _fits(value: Any, hint: Any) -> bool:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return value in arguments
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if get_origin(hint) is UnionType or len(arguments) > 1:
        return any(_fits(value, choice) for choice in arguments)
    return type(value) is hint


def _wanted(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return "one of " * (len(arguments) > 1) + ", ".join(map(str, arguments))
    if get_origin(hint) is dict:
        return f"a mapping from data sets to {_wanted(arguments[1])}"
    if arguments:
        return " or ".join(_wanted(choice) for choice in arguments)
    return "nothing" if hint is type(None) else str(hint.__name__)
