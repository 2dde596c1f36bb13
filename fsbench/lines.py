"""Lines of a journal, each with a checksum: one that a crash cut off is told from a whole one."""

import json
import zlib
from typing import Any


def checked_line(value: Any) -> str:
    """A line: a checksum, and `value` as JSON."""
    text = json.dumps(value)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def read_line(line: bytes) -> Any | None:
    """The value of a line without its end; None for one that is damaged."""
    checksum, _, text = line.partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else None
