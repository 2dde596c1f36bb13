"""Pickles of the authors, read without running code: containers, text, numbers and arrays of numbers."""

import pickle
from pathlib import Path
from typing import Any

from fsbench.errors import DataError
from fsbench.files import open_file

_ARRAYS = {
    *((module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *((module, "scalar") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
_CONTAINERS = {
    ("collections", "OrderedDict"), ("collections", "defaultdict"),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("list", "dict", "set", "tuple", "int")),
    ("_codecs", "encode"),                 # how older protocols write bytes
}  # fmt: skip


class PlainUnpickler(pickle.Unpickler):
    """Reads containers, text and numbers; anything that would run code is refused."""

    allowed: frozenset[tuple[str, str]] = frozenset()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


class _AnnotationUnpickler(PlainUnpickler):
    """Reads the containers of `collections` and arrays of numbers as well."""

    allowed = frozenset(_ARRAYS | _CONTAINERS)


def read_annotation_pickle(path: Path, expected: str) -> Any:
    """Return the content of a pickle of annotations; DataError says `expected` where it cannot be read."""
    try:
        with open_file(path, "annotations") as file:
            return _AnnotationUnpickler(file).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"annotation file {path} cannot be read ({reason}); expected {expected}; fetch the authors' file again"
        ) from error
