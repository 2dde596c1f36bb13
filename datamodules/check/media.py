"""Check that image files are whole and of the right size, by their headers and ends, so that thousands take seconds."""

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import open_file
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.image_io import read_image
from fsbench.data.orientation import exif_remark, is_turned, read_header, upright_shape
from fsbench.datamodules.check.report import Report, some

_HEAD, _TAIL = 1 << 16, 1 << 12
"""Bytes read at the beginning and the end of a file."""
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB\x60\x82"
_NO_FRAME = {0xC4, 0xC8, 0xCC}
"""JPEG markers of the range C0 to CF that do not begin a frame."""
_DECODED = 40
"""Number of files of each kind that are decoded as a sample."""


class Damage(Exception):
    """Raised for a file that is no whole image."""


def image_size(path: Path, decoded: Callable[[], tuple[int, int]] | None = None) -> tuple[int, int]:
    """Return (width, height) of a JPEG or PNG from its header, if its end is present; decode a file in doubt.

    Args:
        path: the file.
        decoded: decodes it and returns its size, in a way of its own.

    Raises:
        Damage: the file is absent, empty, cut off or no image.
    """
    try:
        with open_file(path, "image") as file:
            head = file.read(_HEAD)
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _TAIL))
            tail = file.read()
    except FileNotFoundError:
        raise Damage("is missing") from None
    except OSError as error:
        raise Damage(f"cannot be read ({error.strerror})") from error
    if not head:
        raise Damage("is empty")
    if head.startswith(_PNG_START) and tail.endswith(_PNG_END) and head[12:16] == b"IHDR":
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(b"\xff\xd8") and b"\xff\xd9" in tail:
        size = _frame_size(head)
        if size:
            return size
    return decoded() if decoded else _decoded_size(path)


def _decoded_size(path: Path) -> tuple[int, int]:
    """Decode the image and return (width, height); Damage where that fails."""
    try:
        return read_image(path).size
    except DataError as error:
        raise Damage(f"is damaged: {error}") from error


def _labels_size(label_map: Callable[[str], np.ndarray], name: str) -> tuple[int, int]:
    """Read the label map of an image and return (width, height); Damage where that fails."""
    try:
        height, width = label_map(name).shape
    except DataError as error:
        raise Damage(f"is damaged: {error}") from error
    return width, height


def _frame_size(head: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a JPEG's first frame, None where that does not begin in `head`."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def check_files(
    report: Report,
    subject: str,
    names: Sequence[str],
    files: Callable[[str], Iterable[Path | tuple[int, int]]],
    label_map: Callable[[str], np.ndarray] | None = None,
    turns_images: bool = False,
) -> None:
    """Report damaged files, names whose files do not all have the same size, and images that are turned.

    Args:
        report: where the findings go.
        subject: what the files are called in the report.
        names: images to check.
        files: function from a name to its files, the image first; a (width, height) in place of a file is a size it
            must have.
        label_map: reads the label map of a name, which is then the last of its files, as a run reads it.
        turns_images: the data set takes images as their EXIF entries turn them.
    """
    from tqdm import tqdm  # spares commands that draw no progress its import

    sample = set(names[:: max(1, len(names) // _DECODED)])
    turned: set[str] = set()

    def file_size(source: Path, name: str, is_label_map: bool) -> tuple[int, int]:
        """Return (width, height) of a file, which is decoded where its name is in the sample."""
        decoded = (
            partial(_labels_size, label_map, name) if label_map and is_label_map else partial(_decoded_size, source)
        )
        size = image_size(source, decoded)
        if name in sample:
            decoded()
        return size

    def problem(name: str) -> str | None:
        """Return what is wrong with the files of `name`, None where nothing is; note it where its image is turned."""
        image, *rest = files(name)
        assert isinstance(image, Path)
        sizes: dict[tuple[int, int], str] = {}
        source: Path | tuple[int, int] = image
        try:
            stored = file_size(image, name, False)
            orientation = _orientation(image) if turns_images else 1
            upright = upright_shape(*stored, orientation)
            sizes[upright] = image.name
            for source in rest:
                size = file_size(source, name, source == rest[-1]) if isinstance(source, Path) else source
                stated_by = source.name if isinstance(source, Path) else "the annotations"
                sizes.setdefault(upright if size == stored else size, stated_by)
        except Damage as damage:
            return f"{source} {damage}" if "damaged" not in str(damage) else str(damage).removeprefix("is damaged: ")
        if is_turned(orientation):
            turned.add(name)
        if len(sizes) > 1:
            stated = " and ".join(f"{width}x{height} by {source}" for (width, height), source in sizes.items())
            remark = "" if turns_images else exif_remark(image, list(sizes)[1][::-1])
            return f"{name} is {stated}; expected equal sizes (width x height){remark}"
        return None

    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        progress = tqdm(pool.map(problem, names), f"Checking {subject}", len(names), unit="image", disable=None)
        damaged = [text for text in progress if text]
    for text in damaged[:10]:
        report.problem(subject, text)
    if len(damaged) > 10:
        report.problem(subject, f"and {len(damaged) - 10} more of {len(names)}")
    if not damaged:
        report.ok(subject, f"{len(names)} are whole and of the right size ({len(sample)} were decoded)")
    if turned:
        report.ok(
            subject,
            f"{len(turned)} are turned by their EXIF entry, as people see them: {some(sorted(turned))}; a label map "
            "that fits both ways is taken as drawn on the turned image",
        )


def _orientation(image: Path) -> int:
    """Return the EXIF orientation of an image that was found whole; 1 where it has none."""
    try:
        return read_header(image)[2]
    except DataError:
        return 1


def check_label_maps(report: Report, subject: str, index: SegmentationIndex, names: Sequence[str]) -> None:
    """Report on the image and the label map of each of `names`, as a run reads them."""
    check_files(
        report,
        subject,
        names,
        lambda name: (index.image_path(name), index.label_file(name)),
        index.label_map,
        index.turns_images,
    )


def report_absent(report: Report, subject: str, absent: Sequence[str], expected: str) -> None:
    """Report `absent` files as a problem, if there are any."""
    if absent:
        report.problem(subject, f"{len(absent)} missing: {some(sorted(absent))}; expected {expected}")
