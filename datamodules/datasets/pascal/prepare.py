"""Prepare PASCAL VOC 2012 with SBD: images, VOC's label maps, and SBD's for all other images."""

import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath

from fsbench.base.errors import DataError
from fsbench.base.files import replacing
from fsbench.data.source import read_source
from fsbench.datamodules.datasets.pascal.index import SBD_TRAIN
from fsbench.datamodules.datasets.pascal.sbd import convert
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.datamodules.prepare.making import discard, disk_errors, has_content, publish
from fsbench.datamodules.prepare.unpack import unpack

_ARCHIVES = read_source("fsbench.datamodules.datasets.pascal").archives
VOC, SBD = _ARCHIVES["VOCtrainval_11-May-2012.tar"], _ARCHIVES["benchmark.tgz"]
PARTS = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
"""Folders of the VOC archive that are unpacked."""
VOC_UNPACKED = ".voc.making"
"""Folder in VOC2012, so on the disk of its parts even where that is a link, with what the archive holds of it."""
SBD_UNPACKED = ".sbd.making"
"""Folder in the root with what SBD's archive holds."""


def prepare(job: Job) -> list[str]:
    """Make `<root>/VOC2012` as `fsbench.datamodules.datasets.pascal` reads it.

    Steps whose result is present are left out.

    Returns remarks for the user.
    """
    remarks = provide_lists(job, "fsbench.datamodules.datasets.pascal")
    folders = (job.root, job.root / "VOC2012", job.root / "VOCdevkit/VOC2012")
    voc = next((folder for folder in folders if (folder / "JPEGImages").is_dir()), job.root / "VOC2012")
    with disk_errors(voc):
        if not all(has_content(voc / part) for part in PARTS):
            _unpack_voc(job, voc)
        if not has_content(voc / "SegmentationClassAug"):
            _merge_sbd(job, voc)
    for unpacked in (voc / VOC_UNPACKED, job.root / SBD_UNPACKED):  # here, as a killed process may have left one
        with suppress(OSError):  # a folder for reading only keeps what it has
            discard(unpacked)
    return remarks


def _unpack_voc(job: Job, voc: Path) -> None:
    """Unpack `PARTS` of the VOC archive to the folder `voc`."""
    making = voc / VOC_UNPACKED
    unpack(job.obtain(VOC), making, _voc_part)
    for part in PARTS:
        if not (making / part).is_dir():
            raise DataError(f"archive {VOC.name} has no VOC2012/{part}; expected that of VOC 2012; fetch it again")
    for part in PARTS:
        if not has_content(voc / part):
            publish(making / part, voc / part)


def _voc_part(name: PurePosixPath) -> str | None:
    """Return the path below VOC2012 of a file in the VOC archive; None for what is not wanted."""
    inner = "/".join(name.parts[name.parts.index("VOC2012") + 1 :]) if "VOC2012" in name.parts else ""
    return inner if any(inner.startswith(f"{part}/") for part in PARTS) else None


def _merge_sbd(job: Job, voc: Path) -> None:
    """Make SegmentationClassAug: VOC's label maps unchanged, SBD's for every image without one of VOC."""
    raw, making = job.root / SBD_UNPACKED, voc / ".SegmentationClassAug.making"
    unpack(job.obtain(SBD), raw, _sbd_part)
    annotations = {path.stem: path for path in sorted((raw / "cls").glob("*.mat"))}
    own = {path.stem: path for path in sorted((voc / "SegmentationClass").glob("*.png"))}
    if not annotations or not own:
        empty = SBD.name if not annotations else voc / "SegmentationClass"
        raise DataError(f"{empty} has no annotations; expected those of the published archive; fetch it again")
    making.mkdir(exist_ok=True)
    for name, path in own.items():
        with replacing(making / f"{name}.png", durable=False) as temporary:
            shutil.copyfile(path, temporary)
    convert({name: path for name, path in annotations.items() if name not in own}, making)
    if (raw / "train.txt").is_file():  # PFENet-like training lists follow it
        shutil.copyfile(raw / "train.txt", voc / "ImageSets/Segmentation" / SBD_TRAIN)
    publish(making, voc / "SegmentationClassAug")


def _sbd_part(name: PurePosixPath) -> str | None:
    """Return the path below dataset/ of an annotation or the training list of SBD; None for what is not wanted."""
    if "dataset" not in name.parts or name.name.startswith("._"):
        return None
    inner = name.parts[name.parts.index("dataset") + 1 :]
    wanted = inner == ("train.txt",) or (len(inner) == 2 and inner[0] == "cls" and name.suffix == ".mat")
    return "/".join(inner) if wanted else None
