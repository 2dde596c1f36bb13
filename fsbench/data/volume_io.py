"""Volumes read from files and written to them: NIfTI, and whatever else SimpleITK knows. Needs the extra `medical`."""

import locale
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.opening import gunzip, read_bytes, standard_error_logged
from fsbench.data.file_digests import State, file_state
from fsbench.data.file_rules import refusal
from fsbench.data.volume_geometry import Geometry, checked_grid_rule, on_grid

if TYPE_CHECKING:
    import SimpleITK as sitk

KEPT_BYTES = 2**30
"""Most bytes of volumes that a process keeps: an episode of five shots of CT reads twelve, of about 0.6 GiB."""
NEAR = 1e-3
"""Most by which a label is off a whole number, as after computing in floating point."""
LARGEST_SLOPE = 0.1
"""Largest factor of a header by half of which a label may be off instead."""
_kept: "OrderedDict[tuple[Path, State, Geometry | None], np.ndarray]" = OrderedDict()
"""Volumes by file, its state and the grid they were brought onto, the one asked for longest ago first."""
_STORED = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""Types of NIfTI-1 with one value a voxel."""


def read_image(path: Path) -> "sitk.Image":
    """Read a volume, with its geometry, as a SimpleITK image.

    Raises:
        DataError: the file is absent or cut off, is not a volume of three axes with one value a voxel, or a voxel is
            not a finite number.
    """
    # spared until it is needed
    import SimpleITK as sitk

    reader = _reader(path)
    _check_stored(path, reader.GetSize())
    with own_locale(), standard_error_logged():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise _unreadable(path, error) from error
    _check_finite(path, sitk.GetArrayViewFromImage(image))  # a scale may be too large for the type
    return image


def read_labels(path: Path) -> "sitk.Image":
    """Read a volume of labels as `read_image`, with the whole numbers that rounded values stand for.

    A program that computes in floating point and saves integers stores whole numbers divided by a slope, so that what
    is read is off by up to half the slope. Other values stay as they are.

    Raises:
        DataError: as `read_image`, or values stored by a slope are no whole numbers.
    """
    # spared until it is needed
    import SimpleITK as sitk

    image = read_image(path)
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind != "f":
        return image
    whole = np.rint(values)
    if np.array_equal(whole, values):
        return image
    slope = abs(float(image.GetMetaData("scl_slope"))) if image.HasMetaDataKey("scl_slope") else 0.0
    near = max(NEAR, 0.51 * slope) if slope <= LARGEST_SLOPE else NEAR
    if (off := np.abs(values - whole) > near).any():
        if slope in (0, 1):
            return image  # whoever knows the classes says what is wrong
        raise DataError(
            f"the volume {path} holds the value {values[off][0]:g}, stored with the slope {slope:g} of its header; "
            "expected whole numbers; round them and save them as integers without a slope, in nibabel "
            "Nifti1Image(np.rint(values).astype(np.uint8), affine)"
        )
    labels = sitk.GetImageFromArray(whole)
    labels.CopyInformation(image)
    for key in image.GetMetaDataKeys():
        labels.SetMetaData(key, image.GetMetaData(key))
    return labels


def _reader(path: Path) -> "sitk.ImageFileReader":
    """Return a reader that has read the header of a volume; raises DataError for what is none, as `read_image`."""
    # spared until it is needed
    import SimpleITK as sitk

    if not path.is_file():
        raise DataError(f"the volume {path} does not exist; expected a file such as image_1.nii.gz; prepare the data")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with own_locale(), standard_error_logged():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise _unreadable(path, error) from error
    subject, size = f"the volume {path}", reader.GetSize()
    if len(size) < 3:
        raise refusal("volume_of_two_axes", subject, number=len(size))
    if len(size) > 3:
        raise refusal("volume_of_several", subject, number=prod(size[3:]), size=" x ".join(map(str, size)))
    if (number := reader.GetNumberOfComponents()) != 1:
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        raise refusal("volume_of_colours", subject, number=number, kind=kind)
    return reader


def _check_stored(path: Path, axes: Sequence[int]) -> None:
    """Raise DataError where a file of NIfTI ends before its voxels or goes on after them, or has some that are no
    finite numbers.

    SimpleITK reads what is missing, and what is no number, as 0. Other formats, and types of NIfTI that have several
    values a voxel, are left to it.
    """
    subject, number = f"the volume {path}", prod(axes)
    try:
        content = read_bytes(path, "volume")
        content = gunzip(content, "volume") if content.startswith(b"\x1f\x8b") else content
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    order = next((order for order in "<>" if content.startswith(struct.pack(f"{order}i", 348))), None)
    if order is None or len(content) < 348:
        return
    (kind,), (start,) = struct.unpack_from(f"{order}h", content, 70), struct.unpack_from(f"{order}f", content, 108)
    if kind not in _STORED or not isfinite(start):
        return
    stored, start = np.dtype(order + _STORED[kind]), max(int(start), 348)
    lacking = start + number * stored.itemsize - len(content)
    if lacking > 0:
        raise refusal("volume_cut_off", subject, lacking=lacking)
    if -lacking >= prod(axes[:2]) * stored.itemsize:
        raise refusal("volume_goes_on", subject, further=-lacking)
    _check_finite(path, np.frombuffer(content, stored, number, start))


def _check_finite(path: Path, voxels: np.ndarray) -> None:
    """Raise DataError where a voxel is no finite number."""
    if voxels.dtype.kind == "f" and not (finite := np.isfinite(voxels)).all():
        raise refusal("volume_not_finite", f"the volume {path}", number=np.count_nonzero(~finite))


@contextmanager
def own_locale() -> Iterator[None]:
    """Restore the process's locale after the block, since SimpleITK's DICOM reader changes it."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def write_image(image: "sitk.Image", path: Path) -> None:
    """Write a SimpleITK volume with its geometry to `path`, compressed; not atomically."""
    # spared until it is needed
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path), True)


def volume_geometry(path: Path) -> Geometry:
    """Return a volume's geometry from its file's header.

    Raises:
        DataError: the file is absent or is not a volume of three axes with one value a voxel.
    """
    return _geometry(path, file_state(path))


def volume_rule(path: Path, image: Path) -> str | None:
    """Return the rule by which labels are resampled to the grid of their image's file; None if both have the same grid.

    Raises:
        DataError: the rule refuses the labels, or a file is absent or not a volume of three axes.
    """
    return checked_grid_rule(volume_geometry(path), volume_geometry(image), f"the volume {path}")


def read_volume(path: Path, image: Path | None = None) -> np.ndarray:
    """Return a volume (Z, H, W) in its file's type, read-only.

    Recently used volumes are kept in memory, at most `KEPT_BYTES` in all.

    Args:
        path: the file.
        image: for labels the file of their image, to whose voxel grid they are resampled; None for no resampling.

    Raises:
        DataError: a file is absent, damaged or not a volume of three axes, or the labels do not lie on the image.
    """
    grid = volume_geometry(image) if image is not None and volume_rule(path, image) else None
    key = path, file_state(path), grid
    values = _kept.pop(key, None)
    if values is None:
        values = _array(read_image(path) if image is None else read_labels(path))
        values = values if grid is None else on_grid(values, volume_geometry(path), grid)
        values.flags.writeable = False
    _kept[key] = values  # behind all others
    while len(_kept) > 1 and sum(kept.nbytes for kept in list(_kept.values())) > KEPT_BYTES:
        _kept.popitem(last=False)
    return values


def load_volume(path: Path) -> np.ndarray:
    """Read a volume (Z, H, W), which is not kept in memory."""
    return _array(read_image(path))


def _array(image: "sitk.Image") -> np.ndarray:
    # spared until it is needed
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))


def value_range(path: Path) -> tuple[float, float]:
    """Return the smallest and the largest value of a volume, rounded to float32.

    Raises:
        DataError: the file is absent, damaged or not a volume of three axes.
    """
    return _value_range(path, file_state(path))


@lru_cache(maxsize=1024)
def _value_range(path: Path, state: State) -> tuple[float, float]:
    values = read_volume(path)
    return float(np.float32(values.min())), float(np.float32(values.max()))


@lru_cache(maxsize=1024)
def _geometry(path: Path, state: State) -> Geometry:
    return Geometry.of(_reader(path))


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[-1]
    return DataError(f"the volume {path} cannot be read ({reason}); expected NIfTI of three axes; get or make it again")
