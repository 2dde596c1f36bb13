"""Cardiac MR of MS-CMRSeg, bSSFP: 35 scans with three classes of the heart (scan-tests.md §1, §2)."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fsbench.data.source import ByHand, Source
from fsbench.data.volume_io import read_image, read_labels
from fsbench.datamodules.kinds.volumes import Volumes
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.volumes import MR_THRESHOLD, RawScan, as_array, numbered, prepare_mr, with_geometry

if TYPE_CHECKING:
    import SimpleITK as sitk

SPACING = (1.25, 1.25, 7.99)
"""Voxel spacing (x, y, z) of prepared scans in mm; slices of 8 mm become one more, which is 0 (§1.1)."""
CODES = {200: 1, 500: 2, 600: 3}
"""Stored value of a label -> number of its class."""
SCANS = "bSSFP"
"""Folder of the published scans, beside or in the folder of `--from`."""


class Cmr(Volumes):
    """Cardiac MR scans of MS-CMRSeg (bSSFP): folds 0 to 4 test all three classes, in other scans each.

    Args:
        root: Folder of prepared scans, or one that holds it as `cmr_MR_normalized`. Without `classmap_1.json` the
            labels tell which slices show a class; the folder must then have that name.
    """

    name = "cmr"
    class_names = ("LV-MYO", "LV-BP", "RV")
    classes_of_fold: ClassVar[int | None] = 3
    groups = ((1, 2, 3),)
    starts = (0, 7, 14, 21, 28, 35)
    published_scans = tuple(map(str, range(1, 36)))
    inner: ClassVar[tuple[str, ...]] = ("cmr_MR_normalized", "CMR/cmr_MR_normalized")
    label_codes: ClassVar[Mapping[int, int]] = CODES
    label_maps_are = "resampled from those of MS-CMRSeg, a class a number"
    source = Source(
        dataset="cmr",
        page="the organisers of the challenge MS-CMRSeg of MICCAI 2019",
        by_hand=(
            ByHand("the scans", ("bSSFP/image_<1 to 35>.nii.gz",)),
            ByHand("their labels", ("bSSFP/label_<1 to 35>.nii.gz",)),
        ),
        extra="medical",
        holds=("cmr_MR_normalized/{image,label,superpix-MIDDLE}_<id>.nii.gz", "cmr_MR_normalized/classmap_1.json"),
        notes=(
            "a folder that the notebooks of later papers made serves as well, with labels 200, 500 and 600; without "
            "classmap_1.json its name must be cmr_MR_normalized",
        ),
    )

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Preprocess the user's bSSFP scans into `<root>/cmr_MR_normalized`; return remarks.

        Superpixels are made as those of CHAOS: that rule, and the threshold of the patient's mask, are of no program
        that has cardiac scans.
        """
        place = job.source or job.root
        folder = place / SCANS if (place / SCANS).is_dir() else place
        found = sorted(
            (int(id_[1]), file) for file in folder.glob("image_*.nii.gz") if (id_ := _ID.fullmatch(file.name))
        )
        scans = [RawScan(str(number), file, read_scan) for number, file in found if _labels_of(file).is_file()]
        return cls.prepare_files(job, scans, partial(prepare_mr, spacing=SPACING), MR_THRESHOLD)


_ID = re.compile(r"image_([0-9]+)\.nii\.gz")


def _labels_of(file: Path) -> Path:
    return file.with_name(file.name.replace("image", "label", 1))


def read_scan(file: Path) -> tuple["sitk.Image", "sitk.Image"]:
    """Read a scan of MS-CMRSeg and the labels beside it, as volumes; labels become class numbers."""
    labels = read_labels(_labels_of(file))
    return read_image(file), with_geometry(numbered(as_array(labels), CODES), labels)
