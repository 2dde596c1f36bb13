"""A request's settings as far as files and arguments state them: what is shown before anything is built."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fsbench.config.registry import config_files, read_settings
from fsbench.config.request import Request
from fsbench.config.shipped import merge_settings
from fsbench.errors import SettingsError


def file_settings(request: Request) -> dict[str, Any]:
    """Merge the configuration files of a request's first method, and what its `extra` arguments set.

    Unlike `fsbench.config.build.parse`, which decides what a run is, this knows no defaults of classes and checks
    nothing.

    Returns:
        Nested values, as the YAML files have them; not to be changed.
    """
    return _settings(request.methods[0], request.dataset, request.fast, request.backbone, tuple(request.extra))


@cache
def _settings(method: str, dataset: str, fast: bool, backbone: str | None, extra: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for file in config_files(method, dataset, fast, backbone):
        values = merge_settings(values, read_settings(file))
    for text in extra:
        key, sign, value = text.removeprefix("--").partition("=")
        if not (text.startswith("--") and sign):
            raise SettingsError(f"argument '{text}', expected --key=value")
        given = read_settings(Path(value)) if key == "config" else nested(full_key(key), parse_value(value))
        values = merge_settings(values, given)
    return values


def parse_value(text: str) -> Any:
    """Return the value that a text on the command line stands for; the text itself where it is no YAML."""
    import yaml  # with its 20 ms: most commands read no configuration

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def setting(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key such as `data.batch_size`; None where the files do not say."""
    return value_at(values, full_key(key))


def value_at(values: Mapping[str, Any], parts: Iterable[str]) -> Any:
    """Return the value at `parts` of nested values; None where there is none."""
    value: Any = values
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def full_key(key: str) -> list[str]:
    """Split a key of the command line, which leaves `init_args` out, into its parts in a file."""
    parts = key.split(".")
    inner = [part for part in parts[1:] if part != "init_args"]
    if parts[0] not in ("model", "data") or len(parts) == 1 or inner == ["class_path"]:
        return parts
    is_deep = len(inner) > 1 and inner[0] == "dataset" and inner[1] != "class_path"
    return [parts[0], "init_args", *(["dataset", "init_args", *inner[1:]] if is_deep else inner)]


def nested(parts: Iterable[str], value: Any) -> dict[str, Any]:
    """Return `{a: {b: value}}` for the parts (a, b)."""
    first, *rest = parts
    return {first: nested(rest, value) if rest else value}
