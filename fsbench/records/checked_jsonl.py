"""A file of JSON lines with checksums, so that what a crash or a disk damaged is noticed and left out."""

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from fsbench.base.files import open_file, write_text


def checked_line(value: Any, key: str = "") -> str:
    """Return `value` as a line of JSON that begins with a CRC-32 over `key` and the JSON."""
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode(), zlib.crc32(key.encode())):08x} {text}\n"


def read_line(line: bytes, key: str = "") -> Any | None:
    """Return the value of a line of `checked_line` (without line end); None if damaged or made with another key."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text, zlib.crc32(key.encode())):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not written by `checked_line`
        return None


class CheckedJsonl:
    """JSON-lines file that is only appended to: a header line, then a line with a checksum for each entry.

    An entry has reached the file when `append` returns. A line that a crash cut off is ended by the next `append`.

    Args:
        path: the file; it need not exist before `create`.
        key: text that the checksums of the entries include, so that lines written with another key count as damaged.
    """

    def __init__(self, path: Path, key: str = ""):
        self.path = path
        self.key = key
        self._file: IO[bytes] | None = None

    def create(self, header: str) -> None:
        """Create the file with `header` as its first line; the file never appears without this line."""
        write_text(self.path, header)
        self._open_file()

    def header(self) -> bytes:
        """Return the first line without its end."""
        with open_file(self.path, "journal") as file:
            return file.readline().rstrip(b"\n")

    def entries(self) -> Iterator[tuple[int, Any | None]]:
        """Yield (byte offset, value) of every line after the header; None for a damaged line."""
        with open_file(self.path, "journal") as file:
            offset = len(file.readline())
            for line in file:
                yield offset, read_line(line.rstrip(b"\n"), self.key)
                offset += len(line)

    def read(self, offsets: Iterable[int]) -> Iterator[Any]:
        """Yield the entries whose lines begin at these byte `offsets`, one in memory at a time."""
        with open_file(self.path, "journal") as file:
            for offset in offsets:
                file.seek(offset)
                yield read_line(file.readline().rstrip(b"\n"), self.key)

    def append(self, *values: Any) -> int:
        """Append entries; return the byte offset of the first one.

        Raises:
            OSError: the entries cannot be written, as on a full disk; then none of them is in the file.
        """
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
        return offset

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
