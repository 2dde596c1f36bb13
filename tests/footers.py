"""Footers of parquet files with entries that Polars would not write."""

import io
import struct

import polars as pl


def flagged(content: bytes, column: str, descending: bool) -> bytes:
    """Return a file that Polars wrote in one group of rows, with a footer that calls a column sorted.

    The footer is Thrift's compact form. The entry goes behind the group's number of rows (its field 3), as its field 4.
    """
    frame = pl.read_parquet(io.BytesIO(content))
    (size,) = struct.unpack("<I", content[-8:-4])
    start, footer = content[: -8 - size], content[-8 - size : -8]
    rows = b"\x16" + _number(len(frame))
    before, after = footer.split(rows + b"\x26", 1)
    flag = b"\x19\x1c\x15" + _number(frame.columns.index(column)) + (b"\x11" if descending else b"\x12") + b"\x12\x00"
    footer = before + rows + flag + b"\x16" + after
    return start + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _number(value: int) -> bytes:
    """Return a number of 0 and more as Thrift writes it: doubled, in groups of seven bits, the lowest first."""
    value *= 2
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])
