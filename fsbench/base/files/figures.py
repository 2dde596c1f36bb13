"""Marks in the files of figures by which one that fsbench drew is known, so that no other is replaced."""

from pathlib import Path

from fsbench.base.errors import RecordError
from fsbench.base.files.opening import read_bytes

MARK = "fsbench"
STAMPS: dict[str, dict[str, str | None]] = {
    ".png": {"Software": MARK},
    ".svg": {"Creator": MARK, "Date": None},  # without a date: the same file from the same runs
    ".pdf": {"Creator": MARK, "CreationDate": None},
}
"""Ending of a figure's file -> the metadata that matplotlib writes."""


def check_figure(path: Path) -> None:
    """Raise RecordError unless the file at `path` is a figure (plot) that fsbench drew."""
    try:
        marked = MARK.encode() in read_bytes(path, "image")
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error}); expected a figure that fsbench drew") from error
    if not marked:
        raise RecordError(f"{path} has no mark of fsbench; expected a figure that it drew")
