"""Scans where pictures are expected; torch is not imported, so that the answer comes at once."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.base.files import is_file, is_folder
from fsbench.data.conversion import is_dicom, is_scan
from fsbench.data.labelled.photos import SUFFIXES


def check_no_scans(paths: Iterable[Path], supports: Iterable[str]) -> None:
    """Raise SettingsError if a medical scan is given where `fsbench predict` expects pictures.

    Args:
        paths: Files to segment, or folders; a folder's scans count only if it has no picture.
        supports: Texts that name labelled images, such as NAME=IMAGE:MASK.
    """
    for path in paths:
        found = sorted(path.rglob("*")) if is_folder(path) else [path]
        if is_folder(path) and any(file.name.lower().endswith(SUFFIXES) for file in found):
            continue
        for file in found:
            check_no_scan(file, path)
    for text in supports:
        for part in map(Path, re.split("[=:]", text)):
            if is_file(part):
                check_no_scan(part)


def check_no_scan(path: Path, given: Path | None = None) -> None:
    """Raise SettingsError if a file is a medical scan, or a slice of one; `given` is its folder, if that was given."""
    if is_scan(path):
        command = f"fsbench data convert {shlex.quote(str(given or path))} --out slices"
        raise SettingsError(
            f"{path} is {'a slice of a scan' if is_dicom(path) else 'a scan'}, and fsbench predict reads pictures; "
            f"write the slices of the scan as pictures with '{command}', label some of them, and give their folder"
        )
