"""Check that the image files of a data set are whole, can be read as a run reads them, and fit their label maps."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import open_file
from fsbench.data.dataset import SegmentationData
from fsbench.data.image_io import is_transparent, read_image
from fsbench.data.orientation import exif_remark, unequal_sizes
from fsbench.data.picture_file import OWN_PHOTO, PHOTO, Form, PictureHeader, is_turned, picture_header
from fsbench.datamodules.check.report import Report, some

_TAIL = 1 << 12
"""Bytes at the end of a JPEG in which its end is looked for."""
_DECODED = 40
"""Number of JPEG files that are decoded as a sample."""


def whole_photo(path: Path, decode: bool = False, form: Form = PHOTO) -> PictureHeader:
    """Return a photo's header after checking that its file is complete: a JPEG by its end, other formats by decoding.

    Args:
        path: the file.
        decode: decode JPEGs as well, instead of looking only at their end.
        form: the form that the file must have.

    Raises:
        DataError: the file is absent, damaged or cut off, or of a format that fsbench refuses.
    """
    header = picture_header(path, form)
    if decode or header.format not in ("JPEG", "MPO") or not _has_end(path):
        read_image(path)
    return header


def _has_end(path: Path) -> bool:
    with open_file(path, "image") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return b"\xff\xd9" in file.read()


def check_files(
    report: Report,
    subject: str,
    names: Sequence[str],
    image: Callable[[str], Path],
    labels: Callable[[str], tuple[tuple[int, ...], Path]] | None = None,
    turns_images: bool = False,
) -> None:
    """Report images that are unusable, that differ in size from their label map, or that are changed when read.

    Args:
        report: collects the findings.
        subject: words for the files, under which the findings stand in the report.
        names: names of the images to check.
        image: function from a name to its photo.
        labels: function from an image name to ((height, width) of its label map as a run reads it, the label map's
            file); None if images have no label maps.
        turns_images: whether the data set turns images by their EXIF entries.
    """
    from tqdm import tqdm  # spares commands that draw no progress its import

    sample = set(names[:: max(1, len(names) // _DECODED)])
    turned: set[str] = set()
    transparent: set[str] = set()

    def problem(name: str) -> str | None:
        """Return what is wrong with the files of `name`, None if nothing is; note what is done to its image."""
        path = image(name)
        try:
            header = whole_photo(path, name in sample, OWN_PHOTO if turns_images else PHOTO)
            shape = header.shown_shape if turns_images else (header.height, header.width)
            label_shape, label_file = labels(name) if labels else (shape, None)
            if label_shape != shape:
                remark = "" if turns_images else exif_remark(path, label_shape)
                raise unequal_sizes(path, shape, label_shape, label_file, remark)
        except DataError as error:
            return str(error)
        if turns_images and is_turned(header.orientation):
            turned.add(name)
        if is_transparent(path, header):
            transparent.add(name)
        return None

    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        progress = tqdm(pool.map(problem, names), f"Checking {subject}", len(names), unit="image", disable=None)
        damaged = [text for text in progress if text]
    for text in damaged[:10]:
        report.problem(subject, text)
    if len(damaged) > 10:
        report.problem(subject, f"and {len(damaged) - 10} more of {len(names)}")
    if not damaged:
        report.ok(subject, f"{len(names)} are whole and of the right size ({len(sample)} photos were decoded)")
    if turned:
        report.ok(
            subject,
            f"{len(turned)} are turned by their EXIF entry, as people see them: {some(sorted(turned))}; a label map "
            "that fits both ways is taken as drawn on the turned image",
        )
    if transparent:
        names_of = some(sorted(transparent))
        report.ok(subject, f"{len(transparent)} have transparent pixels, which are laid over white: {names_of}")


def check_label_maps(report: Report, subject: str, data: SegmentationData, names: Sequence[str]) -> None:
    """Report on the image and the label map of each of `names`: unusable files, and differences in size."""

    def labels(name: str) -> tuple[tuple[int, ...], Path]:
        return data.label_map(name).shape, data.label_file(name)

    check_files(report, subject, names, lambda name: Path(data.image_path(name)), labels, data.turns_images)


def report_absent(report: Report, subject: str, absent: Sequence[str], expected: str) -> None:
    """Add the missing files in `absent` to the report as a problem, if there are any.

    Args:
        report: collects the findings.
        subject: words for the files, under which the problem stands in the report.
        absent: names of the missing files.
        expected: what was expected, in words.
    """
    if absent:
        report.problem(subject, f"{len(absent)} missing: {some(sorted(absent))}; expected {expected}")
