"""Files are written to a temporary name and renamed, so that a reader never sees half of one."""

import dataclasses
import difflib
import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.errors import SettingsError

if TYPE_CHECKING:
    pass


_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.\d+\.new")


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` when the block ends well, removed otherwise."""
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # a long name with more to it would be too long
    temporary = path.with_name(f".{short}.{os.getpid()}.new")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def remove_halves(folder: Path, deep: bool = True) -> None:
    """Remove what killed processes left of files they were writing in `folder` (`deep`: and below it); for who alone
    writes there."""
    for path in folder.rglob(".*.new") if deep else folder.glob(".*.new"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; BlockingIOError when another process does.

    The lock ends with this process, however that ends: no child inherits it (as `flock` would have it: workers of a
    killed loader hold on for seconds). The file is gone when nobody needs it.
    """
    while True:
        file = path.open("w")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise BlockingIOError(error.errno, "locked", str(path)) from error
            raise SettingsError(
                f"cannot lock {path} ({error.strerror}); expected a file system with locks, so that two processes "
                "never work on the same run; choose another folder of runs with RUNS=<folder>"
            ) from error
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        except FileNotFoundError:
            pass
        file.close()  # who held it before removed it: ours is no longer the one that others see
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def make_folder(path: Path) -> Path:
    """Create `path`; a clear error where that cannot be done or nothing can be written to it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"cannot write to {path} ({error.strerror}); expected a folder that can be created and written to; "
            "choose another (of runs with RUNS=<folder> or --runs <folder>)"
        ) from error
    return path


def fingerprint(values: Any) -> str:
    """sha256 of plain values in canonical JSON; names what a run is."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_yaml(file: Path, schema: Any, what: str) -> Any:
    """Read and validate a YAML file.

    Args:
        file: the YAML file, a mapping.
        schema: a pydantic model or a dataclass.
        what: what the file should hold, for messages: "a grid".

    Returns:
        An instance of `schema`.

    Raises:
        SettingsError: the file cannot be read, a key is missing or unknown, or a value is of another kind.
    """
    # spared until it is needed
    import yaml
    from pydantic import TypeAdapter, ValidationError  # a quarter of a second, which most commands are spared

    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read {file} ({' '.join(str(error).split())}); expected {what} in YAML") from error
    keys = list(getattr(schema, "model_fields", None) or [f.name for f in dataclasses.fields(schema)])
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds {type(content).__name__}, expected a mapping with {', '.join(keys)}")
    try:  # as JSON, where strictness takes a mapping for a dataclass
        return TypeAdapter(schema).validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise SettingsError(_explain_validation(file, content, keys, error.errors(include_url=False))) from error


_KINDS = {
    "list_type": "a list", "too_short": "a list of one or more", "dict_type": "a mapping", "int_type": "a number",
    "int_from_float": "a whole number", "bool_type": "true or false", "string_type": "text", "none_required": "nothing",
}  # fmt: skip
"""Pydantic's types of errors in words of YAML."""


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _explain_validation(file: Path, content: dict[str, Any], keys: list[str], errors: list[Any]) -> str:
    """Return one line about the first of pydantic's errors: the file, the key, the value, what was expected."""
    first = min(errors, key=lambda error: error["type"] == "missing")  # a wrong name before the one that it was for
    key = str(first["loc"][0])
    *outer, name = first["loc"]
    inside = f", {'.'.join(map(str, outer))}," if outer else ""
    if first["type"] == "missing":
        return f"{file}{inside} has no {name}; expected {'that key' if outer else f'the keys {_listed(keys)}'}"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = sorted({str(error["loc"][-1]) for error in errors if error["type"] == "missing"} if outer else keys)
        close = difflib.get_close_matches(str(name), near, 1)
        known = "leave it out" if outer else f"there are: {_listed(keys)}"
        hint = f"did you mean '{close[0]}'?" if close else known
        return f"{file}{inside} has the unknown key '{name}'; {hint}"
    place, value = key, content[key]
    for part in first["loc"][1:]:  # pydantic's path goes on with the alternatives of a type
        if not ((isinstance(value, list) and isinstance(part, int)) or (isinstance(value, dict) and part in value)):
            break
        place, value = f"{place}[{part}]" if isinstance(part, int) else f"{place}.{part}", value[part]
    expected = [
        _KINDS.get(error["type"]) or error["msg"].removeprefix("Input should be ")
        for error in errors
        if error["loc"][0] == key and (error["input"] == value or error is first)
    ]
    return f"{file}: {place} is {value!r}, expected {' or '.join(dict.fromkeys(expected))}"
