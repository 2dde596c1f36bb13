"""Are image files whole, and how large are their images? Without decoding them, so that thousands take seconds."""

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datamodules.check.report import Report, some
from datamodules.label_maps import read_image
from fsbench.errors import DataError

_HEAD, _TAIL = 1 << 16, 1 << 12
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB\x60\x82"
_NO_FRAME = {0xC4, 0xC8, 0xCC}
"""JPEG markers of the range C0 to CF that do not begin a frame."""
_DECODED = 40
"""So many files of each kind are decoded as a sample."""


class Damage(Exception):
    """A file is no whole image."""


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of a JPEG or PNG from its header, after a look at its end; a file in doubt is decoded.

    Raises Damage for files that are absent, empty, cut off or no images.
    """
    try:
        with path.open("rb") as file:
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
    return _decoded_size(path)


def _decoded_size(path: Path) -> tuple[int, int]:
    try:
        return read_image(path).size
    except DataError as error:
        raise Damage(f"is damaged: {error}") from error


def _frame_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) of a JPEG's first frame, where that begins in `head`."""
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
    report: Report, subject: str, names: Sequence[str], files: Callable[[str], Iterable[Path | tuple[int, int]]]
) -> None:
    """Report damaged files, and names whose files (or sizes given as numbers) have not all the same size."""
    from tqdm import tqdm

    sample = set(names[:: max(1, len(names) // _DECODED)])

    def one(name: str) -> str | None:
        sizes: dict[tuple[int, int], str] = {}
        for source in files(name):
            if not isinstance(source, Path):
                sizes.setdefault(source, "the annotations")
                continue
            try:
                sizes.setdefault(image_size(source), source.name)
                if name in sample:
                    _decoded_size(source)
            except Damage as damage:
                return (
                    f"{source} {damage}" if "damaged" not in str(damage) else str(damage).removeprefix("is damaged: ")
                )
        if len(sizes) > 1:
            said = " and ".join(f"{width}x{height} by {source}" for (width, height), source in sizes.items())
            return f"{name} is {said}; expected equal sizes (width x height)"
        return None

    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        found = list(
            tqdm(pool.map(one, names), total=len(names), desc=f"Checking {subject}", unit="image", disable=None)
        )
    damaged = [text for text in found if text]
    for text in damaged[:10]:
        report.problem(subject, text)
    if len(damaged) > 10:
        report.problem(subject, f"and {len(damaged) - 10} more of {len(names)}")
    if not damaged:
        report.ok(subject, f"{len(names)} are whole and of the right size ({len(sample)} were decoded)")


def report_absent(report: Report, subject: str, absent: Sequence[str], expected: str) -> None:
    """A problem that names files which are not there; nothing where there are none."""
    if absent:
        report.problem(subject, f"{len(absent)} missing: {some(sorted(absent))}; expected {expected}")
