"""Prepare scans as SSL-ALPNet's notebooks do: resampled, of 256 x 256 pixels, with superpixels (§2, §6.1).

Paragraphs are those of alpnet.md. Volumes are (z, row, column) as arrays, and (x, y, z) where SimpleITK gives sizes and
spacings; spacings are in mm. Needs the extra `medical`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import write_text
from fsbench.base.terminal import print_line, print_note
from fsbench.data.file_rules import remark
from fsbench.data.volume_geometry import Geometry, checked_grid_rule, on_grid
from fsbench.data.volume_io import write_image
from fsbench.data.volumes import SIDE

if TYPE_CHECKING:
    import SimpleITK as sitk

MR_SPACING = (1.25, 1.25, 7.70)
MR_PERCENTILE = 99.5
CT_WINDOW = (-125, 275)
CT_MARGIN = 32
"""Pixels of a CT slice that are left out at each side."""
MR_THRESHOLD, CT_THRESHOLD = 50.0001, 1e-4
"""Values of the prepared image above which a pixel may be of the patient."""
LEAST_SUPERPIXEL = 400

Prepare = Callable[["sitk.Image", "sitk.Image"], tuple["sitk.Image", "sitk.Image"]]
"""Function from the image of a scan and its labels to the prepared ones."""


@dataclass(frozen=True)
class RawScan:
    """A scan with its labels in the form in which it was published, before preprocessing.

    Attributes:
        scan: the scan's id, a number as text.
        path: the file or folder of the scan.
        read: function from the path to the image and the labels, each a volume with its geometry.
    """

    scan: str
    path: Path
    read: Callable[[Path], tuple["sitk.Image", "sitk.Image"]]


def write_scans(
    folder: Path, scans: Sequence[RawScan], prepare: Prepare, threshold: float, class_names: Sequence[str]
) -> None:
    """Preprocess scans and write them to `folder`, with superpixels and a list of the slices that show each class.

    Args:
        folder: where the files are written.
        scans: the published scans, in the order of their ids.
        prepare: the preprocessing, `prepare_mr` or `prepare_ct`.
        threshold: value of the prepared image above which a pixel may be of the patient.
        class_names: names of the classes 1, 2, ….

    Raises:
        DataError: a scan cannot be read or prepared, labels do not cover their image, or a label is not a class number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown: dict[str, dict[str, list[int]]] = {name: {} for name in class_names}
    for place, raw in enumerate(scans, 1):
        print_line(f"preparing scan {raw.scan} ({place} of {len(scans)})")
        image, labels = raw.read(raw.path)
        name = f"the scan {raw.scan} ({raw.path.name})"
        own, grid = Geometry.of(labels), Geometry.of(image)
        if rule := checked_grid_rule(own, grid, f"the label volume of {name}"):
            print_note(remark(rule, f"{name}, labels:"))
            labels = with_geometry(on_grid(as_array(labels), own, grid), image)
        known = range(len(class_names) + 1)
        strange = [value for value in np.unique(as_array(labels)).tolist() if value not in known]
        if strange:
            raise DataError(
                f"{name} has the label {strange[0]:g}; expected a class from 0 to {known[-1]}; get the data again"
            )
        try:
            image, labels = prepare(image, labels)
        except DataError as error:
            raise DataError(f"{name} {error}; get the data again") from error
        write_image(image, folder / f"image_{raw.scan}.nii.gz")
        write_image(labels, folder / f"label_{raw.scan}.nii.gz")
        values, numbers = as_array(image), as_array(labels)
        found = np.stack([superpixels(one, threshold) for one in values])
        write_image(with_geometry(found, image), folder / f"superpix-MIDDLE_{raw.scan}.nii.gz")
        for number, name in enumerate(class_names, 1):
            shown[name][raw.scan] = slices_with(numbers, number)
    write_text(folder / "classmap_1.json", class_slices_text(shown))


def slices_with(labels: np.ndarray, number: int) -> list[int]:
    """Return the positions of the slices of labels (Z, H, W) that show class `number`."""
    return np.flatnonzero((labels == number).any((1, 2))).tolist()


def numbered(values: np.ndarray, codes: Mapping[int, int]) -> np.ndarray:
    """Return labels with each stored value of `codes` {value: class number} replaced by its number; others stay.

    >>> numbered(np.array([0, 200, 600, 2], dtype=np.int16), {200: 1, 500: 2, 600: 3}).tolist()
    [0, 1, 3, 2]
    """
    found = values.copy()
    for value, number in codes.items():
        found[values == value] = number
    return found


def class_slices_text(shown: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    """Return the text of the file `classmap_1.json`, {class name: {scan: slices}}, with a line per class."""
    # spared until it is needed
    import json

    lines = (f" {json.dumps(name)}: {json.dumps(dict(of))}" for name, of in shown.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


# Images


def prepare_mr(
    image: "sitk.Image", labels: "sitk.Image", spacing: Sequence[float] = MR_SPACING
) -> tuple["sitk.Image", "sitk.Image"]:
    """Cap the brightest 0.5 % of an MR scan, resample it and cut or pad it to 256 x 256 pixels.

    An integer image stays integer until it is cut: the cap and resampled values are truncated.

    Args:
        image: the scan.
        labels: its labels.
        spacing: the new spacing (x, y, z) in mm.

    Returns:
        The prepared image and labels.
    """
    values = as_array(image)
    top = np.percentile(values, MR_PERCENTILE)
    capped = values.copy()
    capped[values > top] = top  # which an integer volume truncates
    resampled = resample(with_geometry(capped, image), spacing)
    numbers = as_array(resample_labels(labels, spacing))
    moved = as_array(resampled)
    cut = cut_or_pad(moved.astype(np.float64), float(moved.min()))
    return with_geometry(cut, resampled), with_geometry(cut_or_pad(numbers, 0), resampled)


def prepare_ct(image: "sitk.Image", labels: "sitk.Image") -> tuple["sitk.Image", "sitk.Image"]:
    """Clip a CT scan to a window, scale it to 0..255, cut 32 pixels off each side, and resample it to 257 x 257 pixels.

    The number of slices grows by one as well; the last slice, which lies outside, is 0. Returns (image, labels).

    Raises:
        DataError: nothing is left of a slice, or of the window's values; the message begins with "has".
    """
    values = np.clip(as_array(image).astype(np.float64), *CT_WINDOW)
    low, high = values.min(), values.max()
    if min(values.shape[1:]) <= 2 * CT_MARGIN:
        raise DataError(
            f"has slices of {values.shape[1]} x {values.shape[2]} pixels, expected more than {2 * CT_MARGIN}: "
            f"{CT_MARGIN} are cut off at each side"
        )
    if low == high:
        raise DataError(
            f"has one value alone between {CT_WINDOW[0]} and {CT_WINDOW[1]} HU, expected tissue, which lies there"
        )
    values = (values - low) / (high - low) * 255
    inner = np.s_[:, CT_MARGIN:-CT_MARGIN, CT_MARGIN:-CT_MARGIN]
    cut = with_geometry(np.ascontiguousarray(values[inner]), image)
    (width, height, _), (x, y, z) = cut.GetSize(), cut.GetSpacing()
    spacing = (x * (width / SIDE), y * (height / SIDE), z)
    numbers = with_geometry(np.ascontiguousarray(as_array(labels)[inner]), image)
    return resample(cut, spacing), resample_labels(numbers, spacing)


def resample(image: "sitk.Image", spacing: Sequence[float]) -> "sitk.Image":
    """Resample a volume linearly to another voxel spacing; what is outside the volume is 0.

    Voxel i lies at i * new / old of the old grid, and each axis has int(n * old / new + 1) voxels. In an integer volume
    values are truncated towards 0.

    Args:
        image: the volume.
        spacing: the new spacing (x, y, z) in mm.
    """
    # spared until it is needed
    import SimpleITK as sitk

    old = image.GetSpacing()
    size = [int(number * was / new + 1) for number, was, new in zip(image.GetSize(), old, spacing, strict=True)]
    return sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), tuple(map(float, spacing)),
        image.GetDirection(), 0.0, image.GetPixelID(),
    )  # fmt: skip


def resample_labels(labels: "sitk.Image", spacing: Sequence[float]) -> "sitk.Image":
    """Resample a volume of labels to a voxel spacing (x, y, z) in mm, one label after the other, ascending.

    A voxel gets a label that covers more than half of it by linear interpolation; a higher label overwrites a lower
    one.
    """
    values = as_array(labels)
    found: np.ndarray | None = None
    for value in np.unique(values).tolist():
        part = resample(with_geometry((values == value).astype(np.float32), labels), spacing)
        inside = np.rint(as_array(part)) == 1
        found = np.zeros(inside.shape, dtype=np.uint8) if found is None else found
        found[inside] = value
    assert found is not None  # a volume has voxels
    return with_geometry(found, part)


def cut_or_pad(volume: np.ndarray, padding: float) -> np.ndarray:
    """Return a volume (Z, H, W) with every slice cut or padded around its middle, (Z, 256, 256)."""
    cut = np.full((len(volume), SIDE, SIDE), padding, dtype=volume.dtype)
    (rows, own_rows), (columns, own_columns) = map(_middle, volume.shape[1:])
    cut[:, rows, columns] = volume[:, own_rows, own_columns]
    return cut


def _middle(side: int) -> tuple[slice, slice]:
    """Return the places of the middle of a side among 256, and its places among its own."""
    half, centre = SIDE // 2, side // 2
    before, after = min(half, centre), min(half, side - centre)
    return slice(half - before, half + after), slice(centre - before, centre + after)


def as_array(image: "sitk.Image") -> np.ndarray:
    """Return the values (Z, H, W) of a SimpleITK volume."""
    # spared until it is needed
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))


def with_geometry(values: np.ndarray, like: "sitk.Image") -> "sitk.Image":
    """Return values (Z, H, W) as a SimpleITK volume with the position and spacing of another one.

    The spacing is rounded to float32, as NIfTI stores it, since sizes follow from it.
    """
    # spared until it is needed
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(values)
    image.SetOrigin(like.GetOrigin())
    image.SetDirection(like.GetDirection())
    image.SetSpacing([float(np.float32(one)) for one in like.GetSpacing()])
    return image


# Superpixels


def superpixels(image: np.ndarray, threshold: float) -> np.ndarray:
    """Return the superpixels (H, W) int32 of a prepared slice; 0 outside the patient.

    Args:
        image: the slice (H, W) float64.
        threshold: value above which a pixel may be of the patient.
    """
    # spared until it is needed
    from skimage.segmentation import felzenszwalb

    raw = felzenszwalb(image, min_size=LEAST_SUPERPIXEL, sigma=1)
    return renumbered(raw, patient_mask(image, threshold))


def patient_mask(image: np.ndarray, threshold: float) -> np.ndarray:
    """Return the largest connected part (H, W) bool of the pixels above a threshold, with its holes filled.

    Pixels of the part are connected by sides and corners, those of the background by sides. Of equally large parts the
    first counts.
    """
    # spared until it is needed
    from scipy import ndimage

    parts, number = ndimage.label(image > threshold, structure=np.ones((3, 3)))
    if not number:
        return np.zeros(image.shape, dtype=bool)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(parts == largest))


def renumbered(raw: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return superpixels (H, W) int32 renumbered as the authors' program does; 0 outside the mask `inside`.

    Superpixel 0 becomes background, and the last number m becomes m + 1.
    """
    last = int(raw.max())
    found = np.where(inside, raw, 0).astype(np.int32)
    if last:
        found[found == last] = last + 1
    return found
