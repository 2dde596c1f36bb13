"""Files of arrays and tables: .npz, MATLAB's .mat and parquet."""

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.files.opening import LIMITS, in_units, open_file, read_bytes, standard_error_logged

if TYPE_CHECKING:
    import polars as pl

_CELL = 8
"""Bytes that a cell of a table is taken to have in memory."""

_TEXTS = 1024
"""Most rows of texts that are read before their bytes are counted."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return {name: array} of an .npz file from the cache, without unpickling anything.

    Raises:
        OSError: the file is absent, unreadable or too large.
        ValueError: it is damaged or holds anything but arrays.
    """
    with open_file(path, "cache") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                return {name: saved[name] for name in saved.files}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, AttributeError, NotImplementedError) as error:
            raise ValueError(f"it is no sound .npz file ({error})") from error


def read_matlab(path: Path, **more: Any) -> dict[str, Any]:
    """Return {name: value} of the variables of a .mat file; `more` is passed to `scipy.io.loadmat`.

    For damaged files, and those that hold a variable twice, scipy raises nearly any exception.

    Raises:
        OSError: the file is absent, unreadable or too large.
    """
    import scipy.io  # takes a second that most commands are spared
    from scipy.io.matlab import MatReadWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", MatReadWarning)
        return dict(scipy.io.loadmat(io.BytesIO(read_bytes(path, "matlab")), **more))


def read_parquet(
    path: Path,
    kind: str,
    check_types: Callable[[Mapping[str, str]], None],
    check_values: Callable[["pl.DataFrame"], None],
) -> "pl.DataFrame":
    """Return the table of a parquet file, after checking its columns and number of rows.

    Columns of numbers are read and checked first, then texts a few rows at a time, since a small file may unpack to
    very many texts. The file's flags for sorted columns are dropped, since Polars relies on them and would find too few
    rows if they were wrong.

    Args:
        path: the file.
        kind: kind of the file, a key of `LIMITS` with the largest allowed size.
        check_types: function that takes {column: name of its Polars type} and raises ValueError if they are not
            allowed.
        check_values: function that takes a table with some of the columns and raises ValueError if values are not
            allowed.

    Raises:
        OSError: the file is absent, unreadable or too large.
        ValueError: it is not a sound parquet file, has other columns, or more cells or texts than allowed for its kind.
    """
    import polars as pl  # spared until it is needed

    most = LIMITS[kind]
    try:
        with standard_error_logged():  # a damaged file: pages of addresses
            table = pl.scan_parquet(io.BytesIO(read_bytes(path, kind)))
            types = {name: str(found) for name, found in table.collect_schema().items()}
            check_types(types)
            rows = int(table.select(pl.len()).collect().item())
            if rows * len(types) * _CELL > most:
                raise ValueError(
                    f"it has {rows} rows and {len(types)} columns; expected at most {in_units(most)} in cells of "
                    f"{_CELL} bytes"
                )
            texts = [name for name, found in types.items() if found in ("String", "Binary")]
            frame = table.drop(texts).head(rows).collect()  # its pages may hold more than its footer says
            check_values(frame)
            if texts:
                read = _read_texts(table.select(texts), rows, most)
                check_values(read)
                frame = frame.hstack(read) if frame.width else read
            return frame.select(pl.col(*types).gather(pl.int_range(rows)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(type(error).__name__) from error


def _read_texts(table: "pl.LazyFrame", rows: int, most: int) -> "pl.DataFrame":
    """Return the first `rows` of a table of texts; ValueError as soon as these have more than `most` bytes."""
    import polars as pl  # spared until it is needed

    found, start, size = [table.head(0).collect()], 0, 0
    while start < rows:
        found.append(table.slice(start, min(_TEXTS, rows - start)).collect())
        size += int(found[-1].estimated_size())
        if size > most:
            raise ValueError(f"its texts have more than {in_units(most)}, expected at most as much")
        start += len(found[-1])
        if found[-1].is_empty():
            raise ValueError(f"its texts end after {start} of {rows} rows")
    return pl.concat(found)
