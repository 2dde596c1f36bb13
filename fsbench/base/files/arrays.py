"""Files of arrays and tables: .npz, MATLAB's .mat and parquet."""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsbench.base.files.opening import LIMITS, in_units, open_file, read_bytes, standard_error_discarded

if TYPE_CHECKING:
    import polars as pl

_CELL = 8
"""Bytes that a cell of a table is taken to have in memory."""


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


def read_parquet(path: Path, kind: str, check_types: Callable[[Mapping[str, str]], None]) -> "pl.DataFrame":
    """Return the table of a parquet file. Its columns and rows are looked at before anything is decompressed.

    Args:
        path: the file.
        kind: one of `LIMITS`.
        check_types: raises ValueError unless these are columns that the file may have, by their names and Polars types.

    Raises:
        OSError: as `open_file`.
        ValueError: it is no sound parquet file, has other columns, or more cells than fit into files of its kind.
    """
    import polars as pl  # spared until it is needed

    most = LIMITS[kind]
    try:
        with standard_error_discarded():  # a damaged file: pages of addresses
            table = pl.scan_parquet(io.BytesIO(read_bytes(path, kind)))
            types = {name: str(found) for name, found in table.collect_schema().items()}
            check_types(types)
            rows = int(table.select(pl.len()).collect().item())
            if rows * len(types) * _CELL <= most:
                return table.head(rows).collect()  # its pages may hold more than its footer says
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(type(error).__name__) from error
    raise ValueError(
        f"it has {rows} rows and {len(types)} columns; expected at most {in_units(most)} in cells of {_CELL} bytes"
    )
