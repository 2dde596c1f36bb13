"""Turn a pickled table of pandas into plain arrays, in a process of its own: reading a pickle may run code.

Only classes and functions that tables of numbers, texts and arrays are made of are looked up; a pickle that asks for
anything else is refused. `python -m fsbench.datamodules.prepare.pickled_table` is that process.
"""

import io
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes
from fsbench.base.files.arrays import read_npz

_ALLOWED: Mapping[str, frozenset[str]] = {
    "pandas": frozenset(
        {
            "DataFrame", "Index", "RangeIndex", "Int64Index", "StringDtype", "StringArray", "BlockManager",
            "make_block", "new_block", "_unpickle_block", "_new_Index", "__pyx_unpickle_NDArrayBacked",
        }
    ),
    "numpy": frozenset({"ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer"}),
    "builtins": frozenset({"slice"}),
    "_codecs": frozenset({"encode"}),
}  # fmt: skip
"""Names that a pickle may ask for, by the package that they are of."""


def read_columns(path: Path, columns: Sequence[str], folder: Path) -> list[dict[str, np.ndarray]]:
    """Return the arrays of some columns of a pickled table, row by row, in the order of the rows.

    Args:
        path: the pickle.
        columns: names of the columns, whose entries are arrays.
        folder: an existing folder for a temporary file.

    Raises:
        DataError: the file cannot be read, asks for anything but a table's parts, or lacks a column.
    """
    out = folder / f"{path.stem}.npz"
    command = [sys.executable, "-m", __name__, str(path), str(out), *columns]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not out.is_file():
        lines = done.stderr.strip().splitlines() or ["its process ended"]
        raise DataError(f"table {path} cannot be read ({lines[-1][:300]}); expected a pickled table; fetch it again")
    try:
        stored = read_npz(out)
        return [{name: stored[f"{name}/{row}"] for name in columns} for row in range(int(stored["rows"]))]
    finally:
        out.unlink()


class _TableReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        package = module.partition(".")[0].replace("__builtin__", "builtins")
        if name not in _ALLOWED.get(package, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _main(path: str, out: str, *columns: str) -> None:
    table = _TableReader(io.BytesIO(read_bytes(Path(path), "volume"))).load()
    arrays: dict[str, np.ndarray] = {"rows": np.array(len(table))}
    for name in columns:
        arrays |= {f"{name}/{row}": np.asarray(value) for row, value in enumerate(table[name].tolist())}
    if any(one.dtype.hasobject for one in arrays.values()):
        raise ValueError("it has objects in place of arrays of numbers")
    np.savez(out, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    _main(*sys.argv[1:])
