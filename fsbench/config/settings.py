"""A run's configuration files as plain values, read without torch: for what is shown before anything is built."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fsbench.config.registry import config_files
from fsbench.config.request import Request
from fsbench.errors import SettingsError


def file_settings(request: Request) -> dict[str, Any]:
    """Merge the configuration files of a request's first method, and what its `extra` arguments set.

    Unlike `fsbench.config.compose.parse`, which decides what a run is, this knows no defaults of classes and checks
    nothing.

    Returns:
        Nested values, as the YAML files have them; not to be changed.
    """
    return _settings(request.methods[0], request.dataset, request.fast, request.backbone, tuple(request.extra))


@cache
def _settings(method: str, dataset: str, fast: bool, backbone: str | None, extra: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for file in config_files(method, dataset, fast, backbone):
        _merge(values, _read(file))
    for text in extra:
        key, sign, value = text.removeprefix("--").partition("=")
        if not (text.startswith("--") and sign):
            raise SettingsError(f"argument '{text}', expected --key=value")
        _merge(values, _read(Path(value)) if key == "config" else _nested(_full_key(key), _value(value)))
    return values


@cache
def _read(file: Path) -> dict[str, Any]:
    import yaml  # 20 ms, which commands that only look files up are spared

    return yaml.safe_load(file.read_text()) or {}


def _value(text: str) -> Any:
    import yaml  # as above

    return yaml.safe_load(text)


def setting(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key such as `data.batch_size`; None where the files do not say."""
    value: Any = values
    for part in _full_key(key):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _full_key(key: str) -> list[str]:
    """Split a key of the command line, which leaves `init_args` out, into its parts in a file."""
    parts = key.split(".")
    if parts[0] not in ("model", "data") or parts[-1] == "class_path":
        return parts
    inner = [part for part in parts[1:] if part != "init_args"]
    deep = [inner[0], "init_args", *inner[1:]] if inner[0] == "dataset" and len(inner) > 1 else inner
    return [parts[0], "init_args", *deep]


def _nested(parts: Iterable[str], value: Any) -> dict[str, Any]:
    first, *rest = parts
    return {first: _nested(rest, value) if rest else value}


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put `more` over `values`, in place. Another class starts from nothing but what `more` gives it."""
    if "class_path" in more and "class_path" in values and more["class_path"] != values["class_path"]:
        values.pop("init_args", None)
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
