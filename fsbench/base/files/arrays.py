"""Files of arrays and tables: .npz, MATLAB's .mat and parquet.

The footer of a parquet file says what it decompresses to, and is read before anything is decompressed. It is a struct
in the compact protocol of Thrift (https://github.com/apache/parquet-format, `FileMetaData`), of which polars tells no
more than columns and rows.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.files.opening import LIMITS, in_units, open_file, read_bytes
from fsbench.base.files.silence import standard_error_discarded

if TYPE_CHECKING:
    import polars as pl

_CELL = 8
"""Bytes of a cell in memory at least, whatever the file says that its pages decompress to."""
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
"""Numbers of types in Thrift's compact protocol; those between are whole numbers."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file of the cache; nothing is unpickled.

    Raises:
        OSError: as `open_file`.
        ValueError: it is damaged or holds other things.
    """
    with open_file(path, "cache") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                return {name: saved[name] for name in saved.files}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, AttributeError, NotImplementedError) as error:
            raise ValueError(f"it is no sound .npz file ({error})") from error


def read_matlab(path: Path, **more: Any) -> dict[str, Any]:
    """Return the variables of a .mat file; `more` goes to `scipy.io.loadmat`, which raises nearly anything for damaged
    files. Raises OSError as `open_file`."""
    import scipy.io  # takes a second that most commands are spared

    return dict(scipy.io.loadmat(io.BytesIO(read_bytes(path, "matlab")), **more))


def read_parquet(path: Path, kind: str = "counts") -> "pl.DataFrame":
    """Return the table of a parquet file.

    Raises:
        OSError: as `open_file`.
        ValueError: it is no sound parquet file, or becomes larger than files of its kind may be.
    """
    import polars as pl  # spared until it is needed

    content = read_bytes(path, kind)
    size = decompressed_size(content)
    if size > LIMITS[kind]:
        raise ValueError(f"it decompresses to {in_units(size)}; expected at most {in_units(LIMITS[kind])}")
    try:
        with standard_error_discarded():  # a damaged file: pages of addresses
            return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(type(error).__name__) from error


def decompressed_size(content: bytes) -> int:
    """Return the bytes that a parquet file takes in memory at least, by its footer.

    It is the larger of the size of its decompressed pages and `_CELL` bytes for each value, where a column of lists has
    as many rows as its lists have values.

    Raises:
        ValueError: it has no sound footer.
    """
    end = len(content) - 8
    if end < 4 or content[-4:] != b"PAR1":
        raise ValueError("it is no parquet file")
    (length,) = struct.unpack("<I", content[end : end + 4])
    try:
        footer = _ThriftReader(content[max(end - length, 0) : end]).struct()
        (_, *schema), groups = footer[2], footer[4]  # its first element is the table
        values = sum(max((chunk[3][5] for chunk in group[1]), default=0) for group in groups)
        rows = max(footer[3], sum(group[3] for group in groups), values)
        columns = sum(not element.get(5) for element in schema)  # leaves, which have no children
        pages = sum(max(chunk[3][6], 0) for group in groups for chunk in group[1])
        return max(pages, rows * columns * _CELL)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError, struct.error) as error:
        raise ValueError("it has no sound footer") from error


class _ThriftReader:
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
