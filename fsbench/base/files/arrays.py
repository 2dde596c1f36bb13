"""Files of arrays and tables: .npz, MATLAB's .mat and parquet, decompressed up to a limit."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.files.opening import LIMITS, MIB, in_units, open_file, read_bytes
from fsbench.base.files.parquet_footer import parquet_size
from fsbench.base.files.silence import standard_error_discarded

if TYPE_CHECKING:
    import polars as pl

_MATLAB_BYTES = 512 * MIB
_ROWS = 5_000_000
"""Most rows of a table: ten times the largest test's."""
_COLUMNS = 200
"""Most columns of a table: several times those of any of ours."""
_CELL = 8
"""Bytes of a cell in memory at least, whatever the file says that its pages decompress to."""
_COMPRESSED = 15
"""MATLAB's number of a compressed element."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file of the cache; nothing is unpickled.

    Raises:
        OSError: as `open_file`.
        ValueError: it is damaged or holds other things, or more than the limit of the cache's files.
    """
    with open_file(path, "cache") as file:
        try:
            with zipfile.ZipFile(file) as members:
                size = sum(member.file_size for member in members.infolist())
            if size > LIMITS["cache"]:
                raise ValueError(f"it decompresses to {in_units(size)}; expected at most {in_units(LIMITS['cache'])}")
            file.seek(0)
            with np.load(file, allow_pickle=False) as saved:
                return {name: saved[name] for name in saved.files}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, AttributeError, NotImplementedError) as error:
            raise ValueError(f"it is no sound .npz file ({error})") from error


def read_matlab(path: Path, **more: Any) -> dict[str, Any]:
    """Return the variables of a .mat file; `more` goes to `scipy.io.loadmat`, which raises nearly anything for damaged
    files. Raises OSError as `open_file`, and ValueError where it decompresses to too much."""
    import scipy.io  # takes a second that most commands are spared

    content = read_bytes(path, "matlab")
    size = _matlab_size(content)
    if size > _MATLAB_BYTES:
        raise ValueError(f"it decompresses to {in_units(size)}; expected at most {in_units(_MATLAB_BYTES)}")
    return dict(scipy.io.loadmat(io.BytesIO(content), **more))


def _matlab_size(content: bytes) -> int:
    """Return the bytes that the compressed elements of a .mat file of version 5 decompress to."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    size, place = 0, 128
    while order and place + 8 <= len(content):
        kind, length = struct.unpack(order + "II", content[place : place + 8])
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            part = content[place + 8 : place + 8 + length]
            while part and size <= _MATLAB_BYTES:
                size += len(stream.decompress(part, MIB))
                part = stream.unconsumed_tail
        place += 8 + length
    return size


def read_parquet(path: Path, kind: str = "counts") -> "pl.DataFrame":
    """Return the table of a parquet file.

    Raises:
        OSError: as `open_file`.
        ValueError: it is no sound parquet file, or its footer says that it has too many rows or columns, or that it
            decompresses to more than a file of its kind may have.
    """
    import polars as pl  # spared until it is needed

    content = read_bytes(path, kind)
    size = parquet_size(content)
    for number, most, what in ((size.rows, _ROWS, "rows"), (size.columns, _COLUMNS, "columns")):
        if number > most:
            raise ValueError(f"it has more than {most} {what}; expected at most that")
    decompressed = max(size.bytes, size.rows * size.columns * _CELL)
    if decompressed > LIMITS[kind]:
        raise ValueError(f"it decompresses to {in_units(decompressed)}; expected at most {in_units(LIMITS[kind])}")
    try:
        with standard_error_discarded():  # a damaged file: pages of addresses
            table = pl.read_parquet(io.BytesIO(content), n_rows=_ROWS + 1)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise ValueError(type(error).__name__) from error
    if len(table) > _ROWS:
        raise ValueError(f"it has more than {_ROWS} rows; expected at most that")
    return table
