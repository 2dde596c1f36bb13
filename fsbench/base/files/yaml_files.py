"""YAML files: read without repeated keys and with few aliases, validated against a schema."""

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

from fsbench.base.errors import SettingsError, near_path
from fsbench.base.files.opening import is_text, read_text
from fsbench.base.files.validation import first_problem

NODES = 100_000
"""Values that a file may have, with aliases written out."""


@cache
def _loader() -> Any:
    """Return PyYAML's safe loader, which also refuses repeated keys and aliases that stand for too much."""
    import yaml  # spared until it is needed

    class Loader(yaml.SafeLoader):
        def __init__(self, stream: str):
            super().__init__(stream)
            self.sizes: dict[int, int] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            is_alias = self.check_event(yaml.AliasEvent)
            node = super().compose_node(parent, index)
            if is_alias:
                if id(node) not in self.sizes:
                    raise yaml.YAMLError("it has an alias inside of what it stands for")
                return node
            if isinstance(node, yaml.ScalarNode) and not is_text(node.value):
                raise yaml.YAMLError(f"line {node.start_mark.line + 1} has half of a character, {node.value!a}")
            parts = [] if isinstance(node, yaml.ScalarNode) else node.value
            if isinstance(node, yaml.MappingNode):
                seen: set[str] = set()
                for key in (key for key, _ in parts if isinstance(key, yaml.ScalarNode)):
                    if key.value in seen:  # of which one would be lost
                        raise yaml.YAMLError(f"line {key.start_mark.line + 1} has the key {key.value!r} again")
                    seen.add(key.value)
                parts = [part for pair in parts for part in pair]
            self.sizes[id(node)] = size = 1 + sum(self.sizes[id(part)] for part in parts)
            if size > NODES:
                raise yaml.YAMLError(f"it has more than {NODES} values, those that aliases stand for included")
            return node

    return Loader


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        ValueError: it is not valid YAML; the message has one line.
    """
    import yaml  # spared until it is needed

    try:
        return yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except Exception as error:  # dates, numbers and binary values that are none raise many kinds
        raise ValueError(f"it has a value that cannot be read ({error})") from error


def load_yaml(path: Path) -> Any:
    """Return the value of a YAML file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not valid YAML.
    """
    return parse_yaml(read_text(path, "settings"))


def read_yaml(file: Path, schema: Any, what: str) -> Any:
    """Read a YAML file, and return its content as a validated instance of `schema`.

    Args:
        file: the YAML file, which must hold a mapping.
        schema: a pydantic model or a dataclass.
        what: what the file should hold, for messages: "a grid".

    Returns:
        An instance of `schema`.

    Raises:
        SettingsError: the file cannot be read, a key is missing or unknown, or a value is of another kind.
    """
    try:
        content = load_yaml(file)
    except (OSError, ValueError) as error:
        near = near_path(file) if isinstance(error, FileNotFoundError) else ""
        raise SettingsError(f"cannot read {file} ({error}); expected {what} in YAML{near}") from error
    return validate_yaml(file, content, schema)


def validate_yaml(file: Path, content: Any, schema: Any, part: str = "") -> Any:
    """Return an instance of `schema` from a YAML file's parsed content.

    Args:
        file: the file, for messages.
        content: the content of the file, or of a part of it.
        schema: a pydantic model or a dataclass.
        part: name of the part, for messages; "" for the whole.

    Raises:
        SettingsError: a key is missing or unknown, or a value is of another kind.
    """
    from pydantic import TypeAdapter, ValidationError  # a quarter of a second, which most commands are spared

    if model := getattr(schema, "model_fields", None):
        keys, required = list(model), [key for key, field in model.items() if field.is_required()]
    else:
        fields = dataclasses.fields(schema)
        keys = [field.name for field in fields]
        required = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds {type(content).__name__}, expected a mapping with {', '.join(keys)}")

    def refuse(value: Any) -> None:
        raise SettingsError(f"{file} holds the {type(value).__name__} {value}, expected text; put it in quotes")

    try:  # as JSON, where strictness takes a mapping for a dataclass
        return TypeAdapter(schema).validate_json(json.dumps(content, default=refuse), strict=True)
    except ValidationError as error:
        where = f"{file}: {part}" if part else str(file)
        raise SettingsError(f"{where}: {first_problem(error, content, keys, required)}") from error
