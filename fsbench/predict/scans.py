"""Scans where pictures are expected; torch is not imported, so that the answer comes at once."""

import re
from collections.abc import Iterable
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files import is_file, is_folder

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".heic", ".heif")
"""Ends of the names of pictures."""
SCANS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".dcm")
"""Ends of the names of scans."""


def check_no_scans(paths: Iterable[Path], supports: Iterable[str]) -> None:
    """Raise SettingsError if a medical scan is given where `fsbench predict` expects pictures.

    Args:
        paths: Files to segment, or folders; a folder's scans count only if it has no picture.
        supports: Texts that name labelled images, such as NAME=IMAGE:MASK.
    """
    for path in paths:
        check_no_scan(path)
        found = sorted(path.rglob("*")) if is_folder(path) else []
        if not any(file.name.lower().endswith(SUFFIXES) for file in found):
            for file in found:
                check_no_scan(file)
    for text in supports:
        for part in map(Path, re.split("[=:]", text)):
            if is_file(part):
                check_no_scan(part)


def check_no_scan(path: Path) -> None:
    """Raise SettingsError if a file's name ends like that of a medical scan, such as .nii.gz or .dcm.

    The message has a command that writes the scan's slices as pictures. A DICOM file is mostly one slice of several in
    a folder.
    """
    if not path.name.lower().endswith(SCANS):
        return
    folder, what, scan = path.parent, f"{path} is a scan", repr(str(path))
    if path.suffix.lower() == ".dcm" and len(list(folder.glob("*"))) > 1:
        what = f"{path} is a slice of a scan"
        scan = f"s.ImageSeriesReader.GetGDCMSeriesFileNames({str(folder)!r})"
    read = f"v = s.Cast(s.RescaleIntensity(s.ReadImage({scan})), s.sitkUInt8)"
    write = "[s.WriteImage(v[:, :, z], f'slices/{z:03}.png') for z in range(v.GetDepth())]"
    raise SettingsError(
        f"{what}, and fsbench predict reads pictures; write its slices as pictures, label some of them, and "
        "give their folder (pip install 'fsbench[medical]' brings SimpleITK):",
        f'  mkdir slices && python -c "import SimpleITK as s; {read}; {write}"',
    )
