"""The place of a volume's voxels in the patient, and how labels come onto the voxels of their image.

Programs store a volume from any side: where a voxel lies follows from the file's header alone. Axes are (x, y, z) here,
as SimpleITK has them, and the reverse in arrays.
"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from fsbench.data.file_rules import RULES, refusal

if TYPE_CHECKING:
    import SimpleITK as sitk

ROUNDING = 0.1
"""Largest difference of two voxels' places, as a share of a voxel, that is rounding: headers hold float32, or less."""
OVERHANG = 1 - ROUNDING
"""Most voxels of its own by which labels may end before the image's last voxel does: resampling rounds sizes."""


@dataclass(frozen=True)
class Geometry:
    """Position of a volume's voxels in the patient: size, spacing, origin, direction.

    Attributes:
        size: number of voxels along each axis.
        spacing: distance from a voxel to the next along each axis, in mm.
        origin: position of the first voxel's centre in the patient, in mm (towards left, back, head).
        direction: matrix (3, 3) by rows, whose columns are the directions of the axes in the patient.
        sform: matrix (3, 4) by rows from voxel indices (x, y, z, 1) to mm, as a NIfTI file's sform states it; None
            without one. If the file has a qform, too, nibabel believes the sform and SimpleITK mostly the qform.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    sform: tuple[float, ...] | None = None

    @classmethod
    def of(cls, volume: "sitk.Image | sitk.ImageFileReader") -> "Geometry":
        """Return the geometry of a SimpleITK volume, or of a reader that has read a volume's header."""
        sform = None
        if volume.HasMetaDataKey("sform_code") and volume.GetMetaData("sform_code") != "0":
            right, front, up = (list(map(float, volume.GetMetaData(f"srow_{axis}").split())) for axis in "xyz")
            sform = (*(-one for one in right), *(-one for one in front), *up)
        return cls(volume.GetSize(), volume.GetSpacing(), volume.GetOrigin(), volume.GetDirection(), sform)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (Z, H, W) of the volume's array."""
        return self.size[::-1]

    @property
    def places(self) -> np.ndarray:
        """Matrix (4, 4) from voxel indices (x, y, z, 1) to a position in the patient in mm."""
        turned = np.reshape(self.direction, (3, 3)) * self.spacing
        return np.vstack([np.column_stack([turned, self.origin]), [0, 0, 0, 1]])

    @property
    def sform_places(self) -> np.ndarray:
        """Matrix (4, 4) from voxel indices (x, y, z, 1) to mm by NIfTI's sform; without one, `places`."""
        return self.places if self.sform is None else np.vstack([np.reshape(self.sform, (3, 4)), [0, 0, 0, 1]])

    @property
    def says_nothing(self) -> bool:
        """Whether the header has default values (spacing 1, origin 0), written where geometry is unknown."""
        return any(np.allclose(self.places, np.diag(axes)) for axes in ((1, 1, 1, 1), (-1, -1, 1, 1)))

    def __str__(self) -> str:
        size, spacing = (" x ".join(f"{one:.6g}" for one in values) for values in (self.size, self.spacing))
        origin, direction = (" ".join(f"{one + 0.0:.4g}" for one in values) for values in (self.origin, self.direction))
        return f"{size} voxels of {spacing} mm, origin {origin}, direction {direction}"


@np.errstate(all="ignore")  # of numbers that place nothing, which are refused in the end
def grid_rule(labels: Geometry, image: Geometry) -> str | None:
    """Return the name of the rule that applies to labels on another voxel grid than their image: resample or refuse.

    Args:
        labels: geometry of the labels.
        image: geometry of the image.

    Returns:
        None if both grids are the same but for rounding; else the name of a rule in `fsbench.data.file_rules`.
    """
    matrix = np.linalg.solve(labels.places, image.places)
    corners, borders = _corners(image), _corners(image, 0.5)
    apart = np.abs(labels.sform_places @ matrix @ corners - image.sform_places @ corners).max()
    if not apart <= ROUNDING * min(map(abs, labels.spacing + image.spacing)):
        return "volume_of_two_geometries"
    found, found_borders = ((matrix @ one)[:3] for one in (corners, borders))
    last = np.reshape(labels.size, (3, 1)) - 1
    if labels.size == image.size and np.abs(found - corners[:3]).max() < ROUNDING:
        return None
    axes = np.rint(np.abs(matrix[:3, :3]))
    at_corners = np.minimum(np.abs(found), np.abs(found - last)).max() < ROUNDING
    if at_corners and sorted(labels.size) == sorted(image.size) and (axes @ image.size == labels.size).all():
        return "volume_from_another_side"
    if labels.says_nothing or image.says_nothing:
        return "volume_without_geometry" if labels.size == image.size else "volume_without_geometry_of_another_size"
    beyond, wholly_beyond = (np.maximum(-one, one - last).max() - 0.5 for one in (found, found_borders))
    covers = beyond < ROUNDING or wholly_beyond < OVERHANG
    return "volume_on_another_grid" if covers else "volume_beside_its_image"


def _corners(image: Geometry, margin: float = 0.0) -> np.ndarray:
    """Return the indices (x, y, z, 1) of a volume's corner voxels, or of places by a `margin` outside, (4, 8)."""
    return np.array([*product(*((-margin, number - 1 + margin) for number in image.size), (1,))]).T


def checked_grid_rule(labels: Geometry, image: Geometry, subject: str) -> str | None:
    """Return the rule by which labels are resampled to the grid of their image (`grid_rule`); None for the same grid.

    Raises:
        DataError: the rule refuses the labels; the message begins with `subject`.
    """
    rule = grid_rule(labels, image)
    if rule and "; expected " in RULES[rule]:
        raise refusal(rule, subject, own=labels, image=image)
    return rule


def on_grid(values: np.ndarray, labels: Geometry, image: Geometry) -> np.ndarray:
    """Resample labels to the voxels of their image, each taking the nearest label; 0 outside the labels.

    Labels that are already on the image's grid, or whose position is unknown, are returned unchanged.

    Args:
        values: the labels (Z, H, W).
        labels: the geometry of the labels.
        image: the geometry of the image.
    """
    if grid_rule(labels, image) not in ("volume_from_another_side", "volume_on_another_grid"):
        return values
    matrix = np.linalg.solve(labels.places, image.places)
    depth, height, width = image.shape
    y, x = np.mgrid[:height, :width]
    found = np.zeros(image.shape, values.dtype)
    for z in range(depth):
        places = np.tensordot(matrix[:3], np.stack([x, y, np.full_like(x, z), np.ones_like(x)]), 1)
        nearest = np.floor(places.round(3) + 0.5).astype(int)  # rounding decides nothing where two are equally near
        inside = ((nearest >= 0) & (nearest < np.reshape(labels.size, (3, 1, 1)))).all(0)
        found[z, inside] = values[tuple(nearest[::-1, inside])]
    return found
