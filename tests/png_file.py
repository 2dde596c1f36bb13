"""PNG files of grey values, written by hand."""

import struct
import zlib


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a file of `chunks` (name, data), each with its sum."""
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


def png_file(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, interlaced: int = 0) -> bytes:
    """Return a file whose header is followed by `chunks` (name, data) as they are, and by its end."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlaced)
    return png_of((b"IHDR", header), *chunks, (b"IEND", b""))
