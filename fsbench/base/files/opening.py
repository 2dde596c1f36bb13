"""The door through which every file comes in that a user or another program made.

Only regular files are opened, each up to the size of its kind. Whatever is in the way is an OSError whose `strerror`
says it in words, or a ValueError for contents; callers add which file it was and what they expected.
"""

import errno
import gzip
import io
import json
import os
import re
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

MIB = 1 << 20

LIMITS = {
    "image": 1024 * MIB,
    "label map": 512 * MIB,
    "annotations": 1024 * MIB,
    "volume": 16 * 1024 * MIB,
    "list": 64 * MIB,
    "printed list": 24 * MIB,  # parsing takes some fifty times as much memory
    "settings": MIB // 4,
    "manifest": 64 * MIB,
    "record": 16 * MIB,
    "counts": 512 * MIB,
    "predictions": 1024 * MIB,
    "journal": 1024 * MIB,
    "log": 64 * MIB,
    "matlab": 64 * MIB,
    "cache": 16 * 1024 * MIB,
    "weights": 32 * 1024 * MIB,
    "bundle": 1024 * MIB,
    "archive": 1024 * 1024 * MIB,
}
"""Largest files, in bytes, by kind. COCO's largest annotation file has 470 MB, Places365's archive 100 GB."""

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")

_listeners: list[set[str]] = []
"""Sets of `opened_files`."""

_ONE_AT_A_TIME = threading.RLock()
"""Lock of `standard_error_logged`, within which PIL's `load` calls `load`."""

_LOGGED = 4096
"""Most bytes of the standard error that go to the log."""

_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder",
}  # fmt: skip


class NotReadable(OSError):
    """A path is not a regular file, or the file is too large; `strerror` says which."""

    def __init__(self, reason: str, path: str | Path):
        super().__init__(errno.EINVAL, reason, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def open_file(path: str | Path, kind: str) -> io.BufferedReader:
    """Open a regular file for reading, up to the size limit of its kind.

    Args:
        path: the file.
        kind: kind of the file, a key of `LIMITS` with the largest allowed size.

    Raises:
        OSError: there is no such file, it may not be read, is no regular file (nor a link to one), or is larger than
            files of its kind may be.
    """
    try:
        file = open(path, "rb", opener=_open_plain_file)  # noqa: SIM115 - Path.open has no opener
    except (FileNotFoundError, PermissionError, NotReadable):
        raise
    except ValueError as error:  # a zero byte, or what no file system's encoding can write
        raise NotReadable("its name is not valid", ascii(str(path))) from error
    except OSError as error:
        raise NotReadable(error.strerror or str(error), path) from error
    size = os.fstat(file.fileno()).st_size
    if size > LIMITS[kind]:
        file.close()
        raise NotReadable(f"it has {in_units(size)}; expected at most {in_units(LIMITS[kind])}", path)
    if _listeners and kind != "cache":
        note_opened([path])
    return file


@contextmanager
def opened_files() -> Iterator[set[str]]:
    """Collect the absolute paths of the files, except the cache's, that this process opens within the block.

    Yields:
        The set of paths, which grows while the block runs.
    """
    found: set[str] = set()
    _listeners.append(found)
    try:
        yield found
    finally:
        del _listeners[next(place for place, one in enumerate(_listeners) if one is found)]  # others may be equal


def note_opened(paths: Iterable[str | Path]) -> None:
    """Count files as opened (see `opened_files`) whose contents are known without opening them."""
    if _listeners:
        names = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - twice the time
        for found in _listeners:
            found.update(names)


def _open_plain_file(path: str, flags: int) -> int:
    """Open a file as `open` asks for it; NotReadable where it is anything but a plain one."""
    number = os.open(path, flags | os.O_NONBLOCK)  # else opening a named pipe waits for a writer
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        raise NotReadable(f"it is {_KINDS.get(stat.S_IFMT(mode), 'a special file')}, not a file", path)
    return number


def is_file(path: str | Path) -> bool:
    """Return whether `path` is a regular file, even if access to it is denied; never raises."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - Path.stat costs twice the time
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM)
    except ValueError:
        return False


def is_folder(path: str | Path) -> bool:
    """Return whether `path` is a readable folder; never raises."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for names that are too long


def in_units(size: int) -> str:
    """Return a number of bytes as text with its unit.

    >>> in_units(5 << 20), in_units(1023 << 10)
    ('5 MiB', '1023 KiB')
    """
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:{'.0f' if size >= 1000 * unit else '.3g'}} {name}"
    return f"{size} bytes"


def read_bytes(path: str | Path, kind: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: the file is absent, unreadable, not a regular file, or larger than files of `kind` may be.
    """
    with open_file(path, kind) as file:
        return file.read()


def read_text(path: str | Path, kind: str) -> str:
    """Return the text of a UTF-8 file, without byte order mark and with Unix line ends.

    Raises:
        OSError: the file is absent, unreadable, or larger than files of `kind` may be.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = read_bytes(path, kind).decode("utf-8-sig")
    return text.replace("\r\n", "\n") if "\r" in text else text


def read_json(path: str | Path, kind: str, **more: Any) -> Any:
    """Return the value of a JSON file; `more` is passed to `json.loads`.

    Raises:
        OSError: the file is absent, unreadable, or larger than files of `kind` may be.
        ValueError: it is not JSON, or nested too deep.
    """
    return parse_json(read_bytes(path, kind), **more)


def parse_json(content: str | bytes, **more: Any) -> Any:
    """Return the value of a JSON text; `more` is passed to `json.loads`.

    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}

    Raises:
        ValueError: it is not JSON, is nested too deep, has lone surrogates, or has a key twice in one object (other
            programs may read the other value). If `more` has a hook for objects, the hook must check for such keys
            itself.
    """
    if isinstance(content, bytes):
        content = content.decode("utf-8-sig")
    if not more.keys() & {"object_hook", "object_pairs_hook"}:
        more["object_pairs_hook"] = _distinct_keys
    try:
        value = json.loads(content, **more)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if _ESCAPED_HALF.search(content) and not is_text(json.dumps(value, ensure_ascii=False, default=str)):
        raise ValueError("it has half of a character (an escape from \\ud800 to \\udfff without its other half)")
    return value


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some keys and values; ValueError where a key stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"its key {twice[:100]!r} stands twice in one object, expected it once")
    return found


def is_text(text: str) -> bool:
    """Return whether a text can be written in UTF-8: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def gunzip(content: bytes, kind: str) -> bytes:
    """Return the decompressed content of a gzip file.

    Raises:
        ValueError: it is damaged, or larger than `LIMITS` allows for files of `kind`.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            found = file.read(LIMITS[kind] + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it is no sound gzip file ({error})") from None
    if len(found) > LIMITS[kind]:
        raise ValueError(f"it decompresses to more than {in_units(LIMITS[kind])}")
    return found


@contextmanager
def standard_error_logged() -> Iterator[list[str]]:
    """Within the block, send everything written to the standard error to the log, also by C libraries.

    The whole process is silent meanwhile, so the block should be short. Libraries still raise their errors.

    Yields:
        A list that holds the written lines when the block has ended.
    """
    # spares other calls their import
    import logging
    import tempfile

    lines: list[str] = []
    with _ONE_AT_A_TIME, ExitStack() as stack:
        if hasattr(os, "memfd_create"):  # of Linux: who reads needs no room on a disk
            file = stack.enter_context(os.fdopen(os.memfd_create("lines"), "w+b"))
        else:
            file = stack.enter_context(tempfile.TemporaryFile())
        try:
            with ExitStack() as given_back:
                before = os.dup(2)
                given_back.callback(os.close, before)
                os.dup2(file.fileno(), 2)
                given_back.callback(os.dup2, before, 2)
                yield lines
        finally:
            file.seek(0)
            lines += file.read(_LOGGED).decode(errors="replace").splitlines()
            for line in lines:
                logging.getLogger("fsbench").info("%s", line)
