"""Hand a file to its reader as the command does, and judge the end."""

import contextlib
import io
import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fsbench.base.errors import FsbenchError, user_message
from fsbench.base.terminal import print_block
from tests.fuzz.formats import FORMATS

SECONDS = 20
"""Processor seconds, so that a busy machine changes no verdict."""
MEMORY_KIB = 1 << 20
"""Growth of this process, above what any file of a few bytes needs."""


class TooSlow(BaseException):
    """Raised in a reader that does not come to an end."""


def problem(name: str, content: bytes) -> str | None:
    """Let the reader of the format `name` have a file of `content`.

    Returns:
        Why that ended badly: neither a value nor one line of error, a file that was made or changed, time or memory
        beyond bounds. None where it ended well.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FORMATS[name].name
        path.write_bytes(content)
        before = _files(folder)
        memory = _forget_peak()
        err = io.StringIO()
        below: list[str] = []
        try:
            with _alarm(), _standard_error(below), contextlib.redirect_stderr(err):
                try:
                    FORMATS[name].read(path)
                except FsbenchError as error:
                    print_block(f"fsbench: error: {user_message(error)}", err)
        except TooSlow:
            return f"took more than {SECONDS} s"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        if _files(folder) != before:
            return "files were made or changed"
        if _peak_kib() - memory > MEMORY_KIB:
            return "took more than 1 GiB"
        text = err.getvalue() + "".join(below)
        lines = [line for line in text.splitlines() if not line.startswith("  ")]
        if len(lines) > 1 or not all(line.isprintable() for line in lines):
            return f"{len(lines)} lines on the standard error: {text[:300]!r}"
    return None


def _forget_peak() -> int:
    """Let the peak of this process's memory be measured from now on, where the system can; returns the present one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_kib()


def _peak_kib() -> int:
    try:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1])
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _files(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@contextlib.contextmanager
def _standard_error(text: list[str]) -> Iterator[None]:
    """Collect in `text` what is written past Python, by libraries in other languages."""
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        before = os.dup(2)
        stack.callback(os.close, before)
        os.dup2(file.fileno(), 2)
        stack.callback(os.dup2, before, 2)
        yield
        file.seek(0)
        text.append(file.read().decode(errors="replace"))


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def on_alarm(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, on_alarm)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
