"""Read a list that is a text file, or a table in CSV."""

import csv
import gzip
from io import StringIO
from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import read_bytes, read_text


def read_list(path: Path, kind: str = "list", expected: str = "a text file; fetch it again") -> str:
    """Return the text of the list file `path`.

    Args:
        path: the file.
        kind: kind of the file, which limits its size, a key of `fsbench.base.files.opening.LIMITS`.
        expected: what the file should be and what to do, for the error message.

    Raises:
        DataError: the file cannot be read or is no text.
    """
    try:
        return read_text(path, kind)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list {path} cannot be read ({error}); expected {expected}") from error


def read_rows(path: Path, column: str) -> list[dict[str, str]]:
    """Return the rows of a table in CSV that have something in a column; one with the ending `.gz` is unpacked.

    Raises:
        DataError: the file cannot be read, or lacks the column.
    """
    if path.suffix == ".gz":
        text = gzip.decompress(read_bytes(path, "list")).decode()
    else:
        text = read_list(path, expected="a table in CSV; fetch it again")
    reader = csv.DictReader(StringIO(text))
    if column not in (reader.fieldnames or ()):
        raise DataError(f"{path} has no column {column}; expected one; fetch it again")
    return [row for row in reader if row[column]]
