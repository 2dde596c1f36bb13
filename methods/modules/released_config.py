"""The config.yaml that the authors of EMAT and CST keep beside a checkpoint (emat.md §4, §5).

It states what a checkpoint's weights do not show: a learner of one support side has the keys and shapes of any other,
so those of CST* and of CST-large are equal.
"""

from collections.abc import Iterator
from math import isqrt
from pathlib import Path
from typing import Any

from fsbench.base.errors import CheckpointError
from fsbench.base.files import load_yaml

FILE = "config.yaml"
"""Name of the file, in the folder of the checkpoint."""
LARGEST = 2**20
"""Bytes of a file that is read; the authors' have a few thousand."""
DEEPEST = 4
"""Sections within sections that are looked at."""


def stated_settings(checkpoint: Path) -> dict[str, Any]:
    """Return the settings in the authors' configuration file beside `checkpoint`, under fsbench's names.

    Returns:
        {"method": METHOD.NAME, "support_side": from METHOD.SUPPORT_DIM, "image_size": IMG_SIZE}, without the settings
        that the file does not state; empty if there is no such file.

    Raises:
        CheckpointError: the file is no YAML with sections, or a value has the wrong type.
    """
    file = checkpoint.with_name(FILE)
    if not file.is_file():
        return {}
    content = _read(file)
    stated: dict[str, Any] = {}
    name = _value(file, content, "NAME", "METHOD")
    if name is not None:
        stated["method"] = str(name)
    tokens = _number(file, "SUPPORT_DIM", _value(file, content, "SUPPORT_DIM"))
    if tokens is not None:
        stated["support_side"] = isqrt(tokens - 1)
        if tokens < 2 or stated["support_side"] ** 2 + 1 != tokens:
            raise CheckpointError(f"{file}: SUPPORT_DIM is {tokens}, expected a square and 1, as 401 or 145")
    size = _number(file, "IMG_SIZE", _value(file, content, "IMG_SIZE"))
    return stated | ({} if size is None else {"image_size": size})


def _read(file: Path) -> dict[Any, Any]:
    expected = "expected the authors' YAML with METHOD.SUPPORT_DIM; fetch it again or remove it"
    try:
        if file.stat().st_size > LARGEST:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes; {expected}")
        content = load_yaml(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {file} ({' '.join(str(error).split())}); {expected}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds {type(content).__name__}; {expected}")
    return content


def _value(file: Path, content: dict[Any, Any], key: str, section: str | None = None) -> Any:
    """Return the value of `key`, in whatever section it stands or in `section` alone; None if it is not there."""
    values = []
    if section is not None:
        inside = content.get(section)
        content = {key: inside[key]} if isinstance(inside, dict) and key in inside else {}
    for value in _values(content, key):
        if value not in values:
            values.append(value)
    if len(values) > 1:
        raise CheckpointError(f"{file} states {key} several times: {values[0]!r} and {values[1]!r}; expected one")
    return values[0] if values else None


def _values(content: dict[Any, Any], key: str, depth: int = 0) -> Iterator[Any]:
    for name, value in content.items():
        if name == key:
            yield value
        elif isinstance(value, dict) and depth < DEEPEST:
            yield from _values(value, key, depth + 1)


def _number(file: Path, key: str, value: Any) -> int | None:
    """Return a whole number, or that of a list which repeats one, as a size (700, 700)."""
    if isinstance(value, list) and value and all(part == value[0] for part in value):
        value = value[0]
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise CheckpointError(f"{file}: {key} is {str(value)[:40]!r}, expected a whole number above 0")
