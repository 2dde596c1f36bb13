"""Turn a pickled table of pandas into plain arrays, in a process of its own: reading a pickle may run code.

Only classes and functions that tables of numbers, texts and arrays are made of are looked up; a pickle that asks for
anything else is refused. `python -m fsbench.datamodules.prepare.pickled_table` is that process.
"""

import io
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError, missing_package
from fsbench.base.files import read_bytes
from fsbench.base.files.arrays import read_npz

_PARTS: Mapping[str, Sequence[str]] = {
    "builtins": ("slice",),
    "__builtin__": ("slice",),
    "_codecs": ("encode",),
    "functools": ("partial",),
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "pandas": ("DataFrame", "Index", "RangeIndex", "StringDtype"),
    "pandas.arrays": ("StringArray",),
    "pandas.core.frame": ("DataFrame",),
    "pandas.core.indexes.base": ("Index", "_new_Index"),
    "pandas.core.indexes.numeric": ("Int64Index",),
    "pandas.core.indexes.range": ("RangeIndex",),
    "pandas.core.internals.blocks": ("new_block",),
    "pandas.core.internals.managers": ("BlockManager",),
    "pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",),
    "pandas._libs.internals": ("_unpickle_block",),
}
"""Module -> names in it that a pickle may ask for: those in tables of pandas 1, 2 and 3, pickled with NumPy 1 and 2."""
_MOVED = {
    ("pandas.core.indexes.numeric", "Int64Index"): ("pandas", "Index"),
    ("pandas.core.internals.blocks", "new_block"): ("pandas._libs.internals", "_unpickle_block"),
}
"""Parts of tables of pandas 1 that later versions no longer have, or call otherwise -> what is in their place."""


def read_columns(path: Path, columns: Sequence[str], folder: Path) -> list[dict[str, np.ndarray]]:
    """Return the arrays of some columns of a pickled table, row by row, in the order of the rows.

    Args:
        path: the pickle.
        columns: names of the columns, whose entries are arrays.
        folder: an existing folder for a temporary file.

    Raises:
        DataError: pandas is not installed, the file is damaged or asks for anything but a table's parts, or the table
            lacks a column.
    """
    if find_spec("pandas") is None:
        raise DataError(missing_package(ModuleNotFoundError(name="pandas")))
    out = folder / f"{path.stem}.npz"
    command = [sys.executable, "-m", __name__, str(path), str(out), *columns]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not out.is_file():
        lines = done.stderr.strip().splitlines() or ["its process ended"]
        raise DataError(
            f"table {path} cannot be read ({lines[-1][:300]}); expected a pickled table of pandas with nothing but "
            "numbers, texts and arrays; fetch it again, and if that does not help, update pandas"
        )
    try:
        stored = read_npz(out)
        absent = [name for name in columns if name not in stored["columns"]]
        if absent:
            there = ", ".join(stored["columns"].tolist()) or "none"
            raise DataError(f"table {path} has no column {', '.join(absent)}, but {there}; fetch the authors' own")
        return [{name: stored[f"{name}/{row}"] for name in columns} for row in range(int(stored["rows"]))]
    finally:
        out.unlink()


class _TableReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _PARTS.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(*_MOVED.get((module, name), (module, name)))


def _main(path: str, out: str, *columns: str) -> None:
    table = _TableReader(io.BytesIO(read_bytes(Path(path), "volume"))).load()
    if not hasattr(table, "columns"):
        raise ValueError(f"it has a {type(table).__name__}")
    there = [str(name) for name in table.columns]
    arrays: dict[str, np.ndarray] = {"rows": np.array(len(table)), "columns": np.array(there, dtype=np.str_)}
    for name in set(columns).intersection(there):
        arrays |= {f"{name}/{row}": np.asarray(value) for row, value in enumerate(table[name].tolist())}
    if any(one.dtype.hasobject for one in arrays.values()):
        raise ValueError("it has objects in place of arrays of numbers")
    np.savez(out, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    _main(*sys.argv[1:])
