"""Volumes read from files and written to them: NIfTI, and whatever else SimpleITK knows. Needs the extra `medical`."""

import locale
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.file_digests import State, file_state

if TYPE_CHECKING:
    import SimpleITK as sitk

KEPT_BYTES = 2**30
"""Most bytes of volumes that a process keeps: an episode of five shots of CT reads twelve, of about 0.6 GiB."""
_kept: "OrderedDict[tuple[Path, State], np.ndarray]" = OrderedDict()
"""Volumes by file and its state, the one that was asked for longest ago first."""


def read_image(path: Path) -> "sitk.Image":
    """Read a volume with its geometry.

    Raises:
        DataError: the file is absent, or no volume of three axes.
    """
    # spared until it is needed
    import SimpleITK as sitk

    if not path.is_file():
        raise DataError(f"the volume {path} does not exist; expected a file such as image_1.nii.gz; prepare the data")
    try:
        with own_locale():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, str(error).strip().splitlines()[-1]) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise _unreadable(path, f"it has {image.GetDimension()} axes")
    return image


@contextmanager
def own_locale() -> Iterator[None]:
    """Give the process its locale back: SimpleITK's reader of DICOM leaves another, in which text files are ASCII."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def write_image(image: "sitk.Image", path: Path) -> None:
    """Write a volume with its geometry, compressed; for places where files are made, since half of it may be seen."""
    # spared until it is needed
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path), True)


def volume_shape(path: Path) -> tuple[int, int, int]:
    """Return the shape (Z, H, W) of a volume from the header of its file; raises DataError as `read_image`."""
    return _volume_shape(path, file_state(path))


def read_volume(path: Path) -> np.ndarray:
    """Return a volume (Z, H, W) in the type of its file, which may not be changed.

    Those that were asked for last are kept, at most `KEPT_BYTES` in all, but the last one whatever its size. Raises
    DataError as `read_image`.
    """
    key = path, file_state(path)
    values = _kept.pop(key, None)
    if values is None:
        values = load_volume(path)
    _kept[key] = values  # behind all others
    while len(_kept) > 1 and sum(kept.nbytes for kept in list(_kept.values())) > KEPT_BYTES:
        _kept.popitem(last=False)
    return values


def load_volume(path: Path) -> np.ndarray:
    """Read a volume (Z, H, W) as `read_volume` returns it, for whoever needs it once: nothing is kept."""
    # spared until it is needed
    import SimpleITK as sitk

    values = sitk.GetArrayFromImage(read_image(path))
    values.flags.writeable = False
    return values


def value_range(path: Path) -> tuple[float, float]:
    """Return the smallest and the largest value of a volume, rounded to float32; raises DataError as `read_image`."""
    return _value_range(path, file_state(path))


@lru_cache(maxsize=1024)
def _value_range(path: Path, state: State) -> tuple[float, float]:
    values = read_volume(path)
    return float(np.float32(values.min())), float(np.float32(values.max()))


@lru_cache(maxsize=1024)
def _volume_shape(path: Path, state: State) -> tuple[int, int, int]:
    # spared until it is needed
    import SimpleITK as sitk

    if not path.is_file():
        read_image(path)  # says so
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, str(error).strip().splitlines()[-1]) from error
    size = reader.GetSize()
    if len(size) != 3:
        raise _unreadable(path, f"it has {len(size)} axes")
    return size[2], size[1], size[0]


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(f"the volume {path} cannot be read ({reason}); expected NIfTI of three axes; get or make it again")
