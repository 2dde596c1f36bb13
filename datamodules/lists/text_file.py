"""Read a list that is a text file."""

from pathlib import Path

from fsbench.base.errors import DataError
from fsbench.base.files import read_text


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
