"""NIfTI-1 files by their bytes, with whatever SimpleITK would not write."""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TYPES = {"|u1": 2, "<i2": 4, "<i4": 8, "<f4": 16, "<f8": 64}
RGB, COMPLEX = (128, 24), (32, 64)
"""Types of several values a voxel, and their bits."""


def nifti(
    values: np.ndarray,
    axes: Sequence[int] | None = None,
    kind: tuple[int, int] | None = None,
    qform: Sequence[float] | None = None,
    sform: np.ndarray | None = None,
    scale: tuple[float, float] = (0, 0),
    intent: int = 0,
) -> bytes:
    """Return the bytes of a file.

    Args:
        values: voxels, the first axis of the array being the last one of the file.
        axes: lengths of the file's axes (x, y, z, …), where they are not those of the array.
        kind: NIfTI's number of the voxels' type, and its bits, where the array's own is another.
        qform: place of the first voxel, towards right, front and head; spacing is 1 and axes go the same ways.
        sform: (3, 4), from indices to places, with code 2, as nibabel writes it.
        scale: factor and summand of stored values; (0, 0) leaves them.
        intent: 1007 for vectors along the fifth axis.
    """
    axes = values.shape[::-1] if axes is None else axes
    number, bits = kind or (TYPES[values.dtype.str], 8 * values.itemsize)
    header = struct.pack("<i 35x B", 348, 0)  # the header's length, and what nobody reads any more
    header += struct.pack("<8h", len(axes), *axes, *[1] * (7 - len(axes)))
    header += struct.pack("<12x 4h", intent, number, bits, 0)
    header += struct.pack("<8f f 2f", *[1.0] * 8, 352, *scale)  # spacings, where voxels begin, and their scale
    header += struct.pack("<3x B 128x", 2)  # mm
    header += struct.pack("<2h", qform is not None, 0 if sform is None else 2)
    header += struct.pack("<3f 3f", 0, 0, 0, *(qform or (0, 0, 0)))  # a quaternion that turns nothing
    header += struct.pack("<12f", *(np.zeros(12) if sform is None else np.ravel(sform)))
    return header + bytes(16) + b"n+1\0" + bytes(4) + values.tobytes()


def save_nifti(file: Path, content: bytes) -> Path:
    """Write the bytes of a file of NIfTI, compressed if its name says so; return it."""
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file
