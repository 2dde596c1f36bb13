"""Scans of the abdomen with drawn content: prepared volumes, and archives in their publishers' layouts.

Organs are ellipses that a scan shows in some of its slices, so that figures on them say nothing of real scans.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from fsbench.data.volume_io import own_locale, write_image
from fsbench.datamodules.datasets import cmr
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.sabs import ARCHIVE, Sabs
from fsbench.datamodules.kinds.volumes import CLASS_SLICES, Volumes
from fsbench.datamodules.prepare.volumes import class_slices_text, slices_with

CHAOS_IDS = (1, 2, 3, 5, 8, 10)
"""Ids of drawn MR scans, the first of the published ones."""
GREYS = (0, 63, 126, 189, 252)
"""Grey values of the label maps of CHAOS."""


def draw_volume(
    rng: np.random.RandomState, organs: Sequence[int], slices: int, side: int, dark: float = 40, bright: float = 250
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its labels (Z, H, W): a patient with `organs` in a circle around the middle."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    image = np.where((y / 0.45) ** 2 + (x / 0.48) ** 2 < 1, dark * 3, 0.0)[None].repeat(slices, 0)
    labels = np.zeros((slices, side, side), dtype=np.uint8)
    for place, organ in enumerate(organs):
        angle = 2 * np.pi * place / len(organs)
        row, column = 0.25 * np.sin(angle) + rng.uniform(-0.02, 0.02), 0.25 * np.cos(angle) + rng.uniform(-0.02, 0.02)
        first = int(rng.randint(0, 2))
        last = slices - 1 - int(rng.randint(0, 2))
        for z in range(first, last + 1):
            size = 0.09 + 0.05 * np.sin(np.pi * (z - first + 1) / (last - first + 2))
            inside = (y - row) ** 2 + (x - column) ** 2 < size**2
            image[z][inside] = dark * 3 + (bright - dark * 3) * (place + 1) / len(organs)
            labels[z][inside] = organ
    return image + rng.normal(0, 6, image.shape), labels


def draw_prepared(
    folder: Path, dataset: type[Volumes] = ChaosT2, ids: Sequence[int] = CHAOS_IDS, slices: int = 7, side: int = 64
) -> Path:
    """Write prepared scans, smaller than the published ones, with superpixels of 8 x 8 pixels; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shown: dict[str, dict[str, list[int]]] = {name: {} for name in dataset.class_names}
    organs = sorted(number for group in dataset.groups for number in group)
    for scan in ids:
        image, labels = draw_volume(np.random.RandomState(scan), organs, slices, side)
        y, x = np.mgrid[:side, :side] // 8
        blocks = np.where(image > 60, 1 + y * (side // 8) + x, 0).astype(np.int32)
        for kind, values in (("image", image), ("label", labels), ("superpix-MIDDLE", blocks)):
            write_image(sitk.GetImageFromArray(values), folder / f"{kind}_{scan}.nii.gz")
        for number, name in enumerate(dataset.class_names, 1):
            shown[name][str(scan)] = slices_with(labels, number)
    (folder / CLASS_SLICES).write_text(class_slices_text(shown))
    return folder


def draw_cmrseg(folder: Path, ids: Sequence[int] = (1, 2), slices: int = 5, side: int = 60) -> Path:
    """Write bSSFP scans of 1.25 x 1.25 x 8 mm as `bSSFP/image_<id>.nii.gz`, and labels with the values of MS-CMRSeg."""
    inner = folder / cmr.SCANS
    inner.mkdir(parents=True, exist_ok=True)
    for scan in ids:
        image, labels = draw_volume(np.random.RandomState(scan), (1, 2, 3), slices, side)
        stored = np.array([0, *cmr.CODES])[labels]
        for kind, values in (("image", image.astype(np.int16)), ("label", stored.astype(np.int16))):
            volume = sitk.GetImageFromArray(values)
            volume.SetSpacing((1.25, 1.25, 8.0))
            write_image(volume, inner / f"{kind}_{scan}.nii.gz")
    return folder


def draw_chaos(folder: Path, ids: Sequence[int] = CHAOS_IDS[:2], slices: int = 4, side: int = 40) -> Path:
    """Write `CHAOS_Train_Sets.zip` with T2-SPIR scans as DICOM and PNG files, and some of another kind; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ChaosT2.source.archives[0].name
    with zipfile.ZipFile(archive, "w") as packed:
        for scan in ids:
            image, labels = draw_volume(np.random.RandomState(scan), (1, 2, 3, 4), slices, side)
            for z in range(slices):
                start = f"Train_Sets/MR/{scan}/T2SPIR"
                name = f"IMG-{scan:04d}-{z + 1:05d}"
                packed.write(_dicom(image[z], z, folder / "slice.dcm"), f"{start}/DICOM_anon/{name}.dcm")
                grey = np.array(GREYS, dtype=np.uint8)[labels[z]]
                packed.writestr(f"{start}/Ground/{name}.png", _png(grey))
                packed.writestr(f"Train_Sets/MR/{scan}/T1DUAL/Ground/{name}.png", _png(grey))
        packed.writestr("Train_Sets/CT/1/DICOM_anon/i0000,0000b.dcm", b"-")
    (folder / "slice.dcm").unlink()
    return archive


def _dicom(values: np.ndarray, z: int, file: Path) -> Path:
    """Write a slice of 2 x 2 x 8 mm as DICOM; return the file."""
    image = sitk.GetImageFromArray(np.clip(values, 0, None).astype(np.uint16)[None])
    image.SetSpacing((2.0, 2.0, 8.0))
    tags = {
        "0008|0060": "MR",
        "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
        "0020|0032": f"0\\0\\{8 * z}",
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0020|0013": str(z + 1),
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(file))
    with own_locale():
        writer.Execute(image)
    return file


def draw_btcv(
    folder: Path,
    scans: int = 2,
    slices: int = 3,
    side: int = 128,
    shift: int = 0,
    stray: int = 0,
    labels: Callable[[sitk.Image], sitk.Image] | None = None,
) -> Path:
    """Write `RawData.zip` with scans of the training part, and one of the other part; return it.

    Args:
        folder: where it is written.
        scans, slices, side: how many, of how many slices, of how many pixels.
        shift: added to the images, in HU.
        stray: label of the first voxel of the last scan.
        labels: changes a label volume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / ARCHIVE.names[0]
    organs = range(1, len(Sabs.class_names) + 1)
    with zipfile.ZipFile(archive, "w") as packed:
        for scan in range(1, scans + 1):
            image, truth = draw_volume(np.random.RandomState(scan), organs, slices, side, dark=-20, bright=180)
            image, truth[0, 0, 0] = image + shift, stray if scan == scans else 0
            for kind, values in (("img", image.astype(np.int16)), ("label", truth)):
                volume = sitk.GetImageFromArray(values)
                volume.SetSpacing((0.75, 0.75, 3.0))
                volume = labels(volume) if labels and kind == "label" else volume
                write_image(volume, folder / "volume.nii.gz")
                packed.write(folder / "volume.nii.gz", f"RawData/Training/{kind}/{kind}{scan:04d}.nii.gz")
        packed.write(folder / "volume.nii.gz", "RawData/Testing/img/img0061.nii.gz")
    (folder / "volume.nii.gz").unlink()
    return archive


def _png(grey: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()
