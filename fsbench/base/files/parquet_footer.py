"""What the footer of a parquet file says of its size, before anything of it is decompressed.

The footer is a struct in Thrift's compact protocol (https://github.com/apache/parquet-format, `FileMetaData`); polars
tells of it no more than columns and rows.
"""

import struct
from dataclasses import dataclass
from typing import Any

_MAGIC = b"PAR1"
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
"""Numbers of types in the compact protocol; those between are whole numbers."""


@dataclass(frozen=True)
class ParquetSize:
    """Rows and columns of a table, and the bytes that its pages decompress to.

    A column of lists has a row for each of their values.
    """

    rows: int
    columns: int
    bytes: int


def parquet_size(content: bytes) -> ParquetSize:
    """Return what the footer of a parquet file says of its size. Raises ValueError where it has none."""
    end = len(content) - 8
    if end < 4 or content[-4:] != _MAGIC:
        raise ValueError("it is no parquet file")
    (length,) = struct.unpack("<I", content[end : end + 4])
    try:
        footer = _Reader(content[max(end - length, 0) : end]).struct()
        (_, *schema), groups = footer[2], footer[4]  # its first element is the table
        chunks = [chunk[3] for group in groups for chunk in group[1]]
        values = sum(max((chunk[3][5] for chunk in group[1]), default=0) for group in groups)
        rows = max(footer[3], sum(group[3] for group in groups), values)
        columns = sum(not element.get(5) for element in schema)  # leaves, which have no children
        return ParquetSize(rows, columns, sum(max(chunk[6], 0) for chunk in chunks))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError, struct.error) as error:
        raise ValueError("it has no sound footer") from error


class _Reader:
    """Reads values of the compact protocol one after the other; a struct becomes number of a field -> value."""

    def __init__(self, content: bytes):
        self.content = content
        self.place = 0

    def byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def number(self) -> int:
        """Return a whole number with its sign ("zigzag")."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.number()
            kind = head & 0x0F
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self.value(kind)
        return fields

    def value(self, kind: int) -> Any:
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self.byte()
            count = self.varint() if head >> 4 == 0x0F else head >> 4
            return [self.value(head & 0x0F) for _ in range(count)]
        if kind == _MAP:
            count = self.varint()
            kinds = self.byte() if count else 0
            return [(self.value(kinds >> 4), self.value(kinds & 0x0F)) for _ in range(count)]
        if kind in (_BINARY, _DOUBLE):
            length = self.varint() if kind == _BINARY else 8
            self.place += length
            return self.content[self.place - length : self.place]
        return self.byte() if kind in (_TRUE, _FALSE, _BYTE) else self.number()
