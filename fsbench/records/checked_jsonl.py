"""A file of JSON lines with checksums, so that what a crash or a disk damaged is noticed and left out."""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from fsbench.base.files import open_file, write_text


def checked_line(value: Any, key: str = "") -> str:
    """Return `value` as a line of JSON behind a CRC-32 over `key` and the JSON."""
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode(), zlib.crc32(key.encode())):08x} {text}\n"


def _read_line(line: bytes, key: str = "") -> Any | None:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text, zlib.crc32(key.encode())) else None


class CheckedJsonl:
    """JSON-lines file that is only appended to: a line for the header, then one for each entry, all with checksums.

    An entry has reached the file when `append` returns. A line that a crash cut off is ended by the next `append`.
    The checksums of entries include `key`, so that lines written with another key count as damaged.
    """

    def __init__(self, path: Path, key: str = ""):
        self.path = path
        self.key = key
        self._file: IO[bytes] | None = None

    def create(self, header: Any) -> None:
        """Create the file, which never appears without its first line, `header`."""
        write_text(self.path, checked_line(header))
        self._open_file()

    def header(self) -> Any | None:
        """Return the value of the first line; None if it is damaged."""
        with open_file(self.path, "journal") as file:
            return _read_line(file.readline())

    def entries(self) -> Iterator[Any | None]:
        """Yield the value of every line after the header; None for a damaged line."""
        with open_file(self.path, "journal") as file:
            file.readline()
            for line in file:
                yield _read_line(line, self.key)

    def append(self, *values: Any) -> None:
        """Append entries. Raises OSError if they cannot be written, as on a full disk; then none is in the file."""
        file = self._open_file()
        offset = file.tell()
        try:
            for value in values:
                file.write(checked_line(value, self.key).encode())
            file.flush()
        except OSError:
            with suppress(OSError):  # tries once more to write what is left
                self.close()
            os.truncate(self.path, offset)
            raise

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open_file(self) -> IO[bytes]:
        if self._file is None:
            with open_file(self.path, "journal") as file:
                file.seek(-1, os.SEEK_END)
                cut_off = file.read() != b"\n"
            if cut_off:
                with self.path.open("ab") as file:
                    file.write(b"\n")
            self._file = self.path.open("ab")
        return self._file
