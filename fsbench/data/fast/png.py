"""Label maps of the commonest PNG form, without the detours of a reader of all forms."""

import struct
import zlib

import numpy as np

from fsbench.base.files.images import check_pixels

_START = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_FIRST_ROWS = 16
"""Rows that are unpacked first: in a file of another form one of them mostly says so."""


def decode_indices(content: bytes) -> np.ndarray | None:
    """Return the numbers (H, W) uint8 that a PNG of 8 bits a pixel stores: places in its palette, or grey values.

    Programs that write label maps leave their rows as they are; then unpacking is all there is to do, half of the time
    of PIL.

    Returns:
        None for any other form of PNG, and for whatever is not in order: a general reader says what it is.

    Raises:
        ValueError: it has too many pixels.
    """
    chunks = _chunks(content)
    header = chunks and chunks[0]
    if not header or header[0] != b"IHDR" or len(header[1]) != 13 or chunks[-1][0] != b"IEND":
        return None
    width, height, depth, kind, *methods = struct.unpack(">IIBBBBB", header[1])
    if depth != 8 or kind not in (_GREY, _PALETTE) or any(methods) or not width * height:
        return None
    if kind == _PALETTE and not any(name == b"PLTE" for name, _ in chunks):
        return None
    check_pixels(width, height, "label map")
    row = width + 1
    size = height * row
    unpack = zlib.decompressobj()
    try:
        packed = b"".join(data for name, data in chunks if name == b"IDAT")
        first = unpack.decompress(packed, min(size, _FIRST_ROWS * row))
        if any(first[::row]):
            return None
        unpacked = first + unpack.decompress(unpack.unconsumed_tail, size - len(first) + 1)
    except zlib.error:
        return None
    if len(unpacked) != size or not unpack.eof:
        return None
    rows = np.frombuffer(unpacked, np.uint8).reshape(height, row)
    return None if rows[:, 0].any() else rows[:, 1:].copy()


def stored_palette(content: bytes) -> bytes:
    """Return the palette of a sound PNG, three bytes an entry; nothing where it has none.

    Entries that are transparent are told by a chunk of their own, which then stands behind the palette's bytes.
    """
    entries, at = b"", len(_START)
    while at + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            break
        if name in (b"PLTE", b"tRNS"):
            entries += content[at + 8 : at + 8 + length]
        at += 12 + length
    return entries


def _chunks(content: bytes) -> list[tuple[bytes, memoryview]]:
    """Return the name and the data of every chunk that a reader must know; nothing where a checksum is wrong."""
    if not content.startswith(_START):
        return []
    found = []
    whole, at = memoryview(content), len(_START)
    while at + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if end + 4 > len(content) or zlib.crc32(whole[at + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            return []
        if name[:1].isupper():
            found.append((name, whole[at + 8 : end]))
        if name == b"IEND":
            return found
        at = end + 4
    return []
