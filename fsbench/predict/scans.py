"""Scans where pictures are expected; torch is not imported, so that the answer comes at once."""

from pathlib import Path

from fsbench.base.errors import SettingsError

SCANS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".dcm")
"""Ends of the names of scans."""


def check_no_scan(path: Path) -> None:
    """Raise SettingsError if a file's name is that of a medical scan, with the command that writes its slices."""
    if not path.name.lower().endswith(SCANS):
        return
    read = f"v = s.Cast(s.RescaleIntensity(s.ReadImage({str(path)!r})), s.sitkUInt8)"
    write = "[s.WriteImage(v[:, :, z], f'slices/{z:03}.png') for z in range(v.GetDepth())]"
    raise SettingsError(
        f"{path} is a scan, and fsbench predict reads pictures; write its slices as pictures, label some of them, and "
        "give their folder (pip install 'fsbench[medical]' brings SimpleITK):",
        f'  mkdir slices && python -c "import SimpleITK as s; {read}; {write}"',
    )
