"""CHAOS, T2-SPIR: 20 abdominal MR scans with liver, kidneys and spleen (alpnet.md §1, §2)."""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files.opening import standard_error_logged
from fsbench.data.image_io import read_shades
from fsbench.data.source import Archive, Source
from fsbench.data.volume_io import own_locale
from fsbench.datamodules.kinds.volumes import Volumes
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.volumes import MR_THRESHOLD, RawScan, prepare_mr, with_geometry

if TYPE_CHECKING:
    import SimpleITK as sitk

DICOM, TRUTH = "DICOM_anon", "Ground"
"""Folders of a scan's slices, and of their label maps."""


class ChaosT2(Volumes):
    """Abdominal MR scans of CHAOS (T2-SPIR): folds 0 to 4 test the kidneys, 5 to 9 liver and spleen, in the same scans.

    Args:
        root: Folder of prepared scans, or one that holds it as `chaos_MR_T2_normalized` or
            `CHAOST2/chaos_MR_T2_normalized`.
    """

    name = "chaost2"
    class_names = ("LIVER", "RK", "LK", "SPLEEN")
    groups = ((2, 3), (1, 4))
    starts = (0, 4, 8, 12, 16, 20)
    published_scans = tuple(map(str, (1, 2, 3, 5, 8, 10, 13, 15, *range(19, 23), *range(31, 35), *range(36, 40))))
    inner: ClassVar[tuple[str, ...]] = ("chaos_MR_T2_normalized", "CHAOST2/chaos_MR_T2_normalized")
    label_maps_are = "resampled from those of CHAOS, a class a number"
    source = Source(
        archives=(
            Archive(
                "https://zenodo.org/records/3431873/files/CHAOS_Train_Sets.zip",
                "df21053002a1cc86df918a87da3b2c19",  # as programs of others state it for version 1.03, 890771694 bytes
            ),
        ),
        dataset="chaost2",
        page="https://zenodo.org/records/3431873",
        terms="licence CC BY-NC-SA 4.0",
        extra="medical",
        holds=(
            "chaos_MR_T2_normalized/{image,label,superpix-MIDDLE}_<id>.nii.gz",
            "chaos_MR_T2_normalized/classmap_1.json",
        ),
        notes=("a folder that the notebooks of SSL-ALPNet's authors made serves as well",),
    )

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack CHAOS's archive and preprocess its scans into `<root>/chaos_MR_T2_normalized`; return remarks."""

        def place(name: PurePosixPath) -> str | None:
            found = re.search(rf"(?:^|/)MR/(\d+)/T2SPIR/((?:{DICOM}|{TRUTH})/[^/]+\.(?:dcm|png))$", str(name))
            return f"{found[1]}/{found[2]}" if found else None

        def scans(raw: Path) -> list[RawScan]:
            folders = sorted((path for path in raw.iterdir() if path.is_dir()), key=lambda path: int(path.name))
            return [RawScan(folder.name, folder, read_scan) for folder in folders]

        return cls.prepare_scans(job, cls.source.archives[0], place, scans, prepare_mr, MR_THRESHOLD)


def read_scan(folder: Path) -> tuple["sitk.Image", "sitk.Image"]:
    """Read a scan of CHAOS and its labels as volumes: slices ordered by number, rows from below as in NIfTI.

    The label of a voxel is the rank of its grey value among those of the scan.

    Args:
        folder: the scan's folder with `DICOM_anon/<name>-<number>.dcm` and `Ground/<name>-<number>.png`.
    """
    # spared until it is needed
    import SimpleITK as sitk

    slices, truths = _by_number(folder / DICOM, ".dcm"), _by_number(folder / TRUTH, ".png")
    if not slices or slices.keys() != truths.keys():
        raise DataError(
            f"{folder} has {len(slices)} slices and {len(truths)} label maps; expected a label map of each slice's "
            "number; get CHAOS again"
        )
    numbers = sorted(slices)
    try:
        with own_locale(), standard_error_logged():
            image = sitk.ReadImage([str(slices[number]) for number in numbers])
    except RuntimeError as error:
        raise DataError(
            f"the slices in {folder / DICOM} cannot be read ({str(error).strip().splitlines()[-1]}); expected the "
            "DICOM files of CHAOS; get them again"
        ) from error
    image = sitk.Flip(image, (False, True, False))
    width, height, _ = image.GetSize()
    grey = [read_shades(truths[number])[::-1, :, 0] for number in numbers]
    for number, one in zip(numbers, grey, strict=True):
        if one.shape != (height, width):
            raise DataError(
                f"{truths[number]} has {one.shape[1]} x {one.shape[0]} pixels, its slice {width} x {height}; expected "
                "one size; get CHAOS again"
            )
    shades = np.stack(grey)
    labels = np.unique(shades, return_inverse=True)[1].reshape(shades.shape).astype(np.uint8)
    return image, with_geometry(labels, image)


def _by_number(folder: Path, suffix: str) -> dict[int, Path]:
    """Return the files of a folder by the number behind the last hyphen of their names."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        number = re.fullmatch(r".*-(\d+)", path.stem)
        if number is None or int(number[1]) in found:
            raise DataError(
                f"{path} has {'the number of another file' if number else 'no number'}; expected names such as "
                f"IMG-0002-00001{suffix}, each with a number of its own; get CHAOS again"
            )
        found[int(number[1])] = path
    return found
