"""Lines for people: everything the command prints goes through here.

Names of files, classes and methods may be anybody's. A control character in one would colour, move or clear what stands
on the screen, so it is written as JSON writes it, `\\u001b`, instead of being sent.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from locale import getpreferredencoding
from pathlib import Path
from typing import TextIO

LONGEST = 1500
"""Number of characters of a message that are shown; its middle is left out where it has more."""

WIDTH = 100
"""Characters of a line of a table in a file or a pipe."""

VERBOSITY = "FSBENCH_VERBOSITY"
"""Variable of the environment that tells a command and its children how much to say: quiet or verbose."""

NOTES = "FSBENCH_NOTES"
"""Variable of the environment: the file with the notes that the processes of a command have printed."""

_SHOWN = "\u200c\u200d"
"""Joiners, which some scripts are written with; invisible, but harmless."""

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def escape(text: str, keep: str = "") -> str:
    """Return `text` with every character that cannot be printed as `\\uXXXX`, except those in `keep`.

    These are control characters, line ends, spaces other than the plain one, marks that turn the direction of writing,
    halves of surrogate pairs (bytes of file names that are no UTF-8), and what Unicode has not assigned.

    >>> escape("red\\x1b[31m")
    'red\\\\u001b[31m'
    """

    def printable(found: re.Match[str]) -> str:
        character, number = found[0], ord(found[0])
        if character.isprintable() or character in _SHOWN or character in keep:
            return character
        return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"

    return _NOT_ASCII.sub(printable, text)


def shorten(text: str, longest: int = LONGEST) -> str:
    """Return `text`, its middle left out where it has more than `longest` characters.

    >>> shorten("the file 0123456789abcdef is none of a run", 24)
    'the file 01234 … f a run'
    """
    if len(text) <= longest:
        return text
    start = (longest - 3) * 2 // 3
    return f"{text[:start]} … {text[len(text) - (longest - 3 - start) :]}"


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return `text` as one line: escaped, and shortened in the middle to `longest` characters."""
    return shorten(escape(shorten(text, longest)), longest)


def shorten_hashes(text: str) -> str:
    """Return `text` with the first 12 digits of each sha256 in it, which tell files apart as well as all 64.

    >>> shorten_hashes("vit.safetensors sha256 " + 8 * "01234567")
    'vit.safetensors sha256 012345670123…'
    """
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)


def escape_in_streams() -> None:
    r"""Make the standard streams, also of child processes, write characters that their encoding lacks as `\uXXXX`.

    Otherwise the first such character, in a name or in a table's head, ends the command with an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # none where the shell closed it
            stream.reconfigure(errors="backslashreplace")
            if stream.encoding.lower() != "utf-8":
                os.environ["PYTHONIOENCODING"] = f"{stream.encoding}:backslashreplace"


def start_in_utf8() -> None:
    """Restart this process in Python's UTF-8 mode if the locale has another encoding.

    fsbench's files are UTF-8 everywhere; file names are those of the disk, and the streams keep their encoding.
    """
    if getpreferredencoding(False).lower() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def text_width() -> tuple[int, bool]:
    """Return the number of characters of a line on the screen, and whether to wrap text to it.

    In a file or a pipe text is not wrapped, so that it can be searched.
    """
    wrap = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size((WIDTH, 24)).columns, wrap


def print_line(text: str = "", file: TextIO | None = None) -> None:
    """Print one line, at once, to the standard output or `file`."""
    print(escape(text), file=file, flush=True)


def print_block(text: str, file: TextIO | None = None) -> None:
    """Print several lines as they are laid out; unprintable characters are escaped."""
    print(escape(text, "\n\t"), file=file, flush=True)


def print_next(commands: Iterable[str]) -> None:
    """Print commands that the user may want to run next, one on a line; print nothing if `commands` is empty."""
    for number, command in enumerate(commands):
        if number == 0:
            print_line("next:")
        print_line(f"  {command}")


def print_error(text: str) -> None:
    """Print a line about something that went wrong, to the standard error."""
    print_line(f"fsbench: error: {one_line(text)}", sys.stderr)


def is_quiet() -> bool:
    """Return whether the command has --quiet: only results and errors are printed."""
    return os.environ.get(VERBOSITY) == "quiet"


def is_verbose() -> bool:
    """Return whether the command has --verbose: messages of the log are printed on the screen, too."""
    return os.environ.get(VERBOSITY) == "verbose"


def print_progress(text: str) -> None:
    """Print a line about the work's progress to the standard error, unless the command is to be quiet."""
    if not is_quiet():
        print_line(text, sys.stderr)


def print_note(text: str) -> None:
    """Print a remark to the standard error, once per command (see `one_command`), unless the command is quiet."""
    note = one_line(text)
    if not (is_quiet() or _is_printed(note)):
        print_line(f"fsbench: note: {note}", sys.stderr)


@contextmanager
def one_command() -> Iterator[None]:
    """Within the block, let all started processes print each note only once, by a shared file of printed notes."""
    if NOTES in os.environ:  # the command of a command, such as one run of a grid
        yield
        return
    with tempfile.NamedTemporaryFile(prefix="fsbench-notes-") as file:
        os.environ[NOTES] = file.name
        try:
            yield
        finally:
            os.environ.pop(NOTES, None)


def _is_printed(note: str) -> bool:
    """Return whether a process of the command has printed a note; it is noted as printed."""
    try:
        with Path(os.environ.get(NOTES, "")).open("r+", encoding="utf-8") as file:
            if f"{note}\n" in file.readlines():
                return True
            file.write(f"{note}\n")
    except OSError:  # there is no command, or its process runs on another machine
        pass
    return False
