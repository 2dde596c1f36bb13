"""Abdominal CT of the Synapse challenge BTCV: 30 scans with 13 organs, of which four are tested (alpnet.md §1, §2)."""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from fsbench.data.source import ByHand, Source
from fsbench.data.volume_io import read_image, read_labels
from fsbench.datamodules.kinds.volumes import Volumes
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.volumes import CT_THRESHOLD, RawScan, prepare_ct

if TYPE_CHECKING:
    import SimpleITK as sitk

ARCHIVE = ByHand("the abdominal CT scans of BTCV", ("RawData.zip", "Abdomen.zip"))


class Sabs(Volumes):
    """Abdominal CT scans of Synapse: folds 0 to 4 test the kidneys, 5 to 9 spleen and liver, in the same scans.

    Args:
        root: Folder of prepared scans, or one that holds it as `sabs_CT_normalized` or `SABS/sabs_CT_normalized`.
    """

    name = "sabs"
    class_names = (
        "SPLEEN", "KID_R", "KID_l", "GALLBLADDER", "ESOPHAGUS", "LIVER", "STOMACH", "AORTA", "IVC", "PS_VEIN",
        "PANCREAS", "AG_R", "AG_L",
    )  # fmt: skip
    groups = ((2, 3), (1, 6))
    starts = (0, 6, 12, 18, 24, 30)
    published_scans = tuple(map(str, range(30)))
    scaled_by = "training scans"
    inner: ClassVar[tuple[str, ...]] = ("sabs_CT_normalized", "SABS/sabs_CT_normalized")
    label_maps_are = "resampled from those of BTCV, a class a number"
    source = Source(
        dataset="sabs",
        page="https://www.synapse.org/#!Synapse:syn3193805",
        by_hand=(ARCHIVE,),
        terms="for registered users who join the challenge, under its terms",
        extra="medical",
        holds=("sabs_CT_normalized/{image,label,superpix-MIDDLE}_<id>.nii.gz", "sabs_CT_normalized/classmap_1.json"),
        notes=("a folder that the notebooks of SSL-ALPNet's authors made serves as well",),
    )

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Unpack the user's BTCV archive and preprocess its scans into `<root>/sabs_CT_normalized`; return remarks."""

        def place(name: PurePosixPath) -> str | None:
            found = re.search(r"(?:^|/)Training/(?:img|label)/((?:img|label)\d+\.nii\.gz)$", str(name))
            return found[1] if found else None

        def scans(raw: Path) -> list[RawScan]:
            files = sorted(raw.glob("img*.nii.gz"))
            return [RawScan(str(number), file, read_scan) for number, file in enumerate(files)]

        return cls.prepare_scans(job, ARCHIVE, place, scans, prepare_ct, CT_THRESHOLD)


def read_scan(file: Path) -> tuple["sitk.Image", "sitk.Image"]:
    """Read a scan of BTCV and the labels beside it, as volumes."""
    return read_image(file), read_labels(file.with_name(file.name.replace("img", "label", 1)))
