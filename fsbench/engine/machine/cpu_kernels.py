"""The kernels of a run's frozen network on a CPU: chosen once, by the processor's maker, and kept when it goes on.

MKL, torch's default, takes its fast paths on Intel's processors alone: on others with the same instructions it is
slower, up to half their rate. oneDNN asks for the instructions only. The last digits differ, as they do between models
of processors.
"""

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import torch

from fsbench.backbones.onednn import KernelChoice, KernelName, onednn_problem
from fsbench.errors import RecordError, RunError, SettingsError
from fsbench.files import read_json
from fsbench.records.record import Record
from fsbench.records.run_directory import RunDirectory

SLOW_WITH_MKL = ("AuthenticAMD", "HygonGenuine")
"""Makers, as /proc/cpuinfo names them, on whose processors MKL is known to be slow; Hygon's cores are AMD's."""
FLOAT32 = ("32-true", "32")
"""Precisions in which a frozen network computes in float32 all through."""
FILE = "cpu_kernels.json"
"""File of an unfinished run that names its kernels."""
PATIENCE = 60
"""Seconds that other ranks wait for rank 0 to write it."""


def cpu_fact(name: str) -> str | None:
    """Return an entry of /proc/cpuinfo for the first core, such as "vendor_id"; None where there is none."""
    with suppress(OSError):
        entry = re.search(rf"^{name}\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if entry:
            return entry[1].strip()
    return None


def check_cpu_kernels(asked: KernelChoice, precision: object) -> None:
    """Raise SettingsError where oneDNN's kernels are asked for and cannot be had."""
    if asked != "onednn":
        return
    if str(precision) not in FLOAT32:
        raise SettingsError(
            f"cpu_kernels is onednn, which is for float32 alone, but precision is {precision}; take --cpu-kernels auto"
        )
    if problem := onednn_problem():
        raise SettingsError(f"cpu_kernels is onednn, but {problem}; take --cpu-kernels auto")


def choose_cpu_kernels(asked: KernelChoice, precision: object, device: torch.device) -> KernelName:
    """Return the kernels of a frozen network on `device`.

    `auto` takes oneDNN's in float32 on a CPU of a maker in `SLOW_WITH_MKL`, where torch computes with MKL. On a GPU
    nothing is changed, whatever is asked for.
    """
    check_cpu_kernels(asked, precision)
    if asked == "default" or device.type != "cpu":
        return "default"
    if asked == "onednn":
        return "onednn"
    is_slow = torch.backends.mkl.is_available() and cpu_fact("vendor_id") in SLOW_WITH_MKL
    return "onednn" if is_slow and str(precision) in FLOAT32 and onednn_problem() is None else "default"


def keep_run_kernels(
    directory: RunDirectory, asked: KernelChoice, precision: object, device: torch.device
) -> tuple[KernelName, bool]:
    """Return the kernels of the run that begins or goes on in `directory`, the same on all ranks.

    Rank 0 chooses when the run begins and writes its choice down; what goes on, here or on another machine, keeps it.
    A run that was begun before there was a choice has torch's default.

    Returns:
        The kernels, and whether `asked` would have been others.

    Raises:
        RecordError: the choice that was written cannot be read.
        RunError: rank 0 has written none.
        SettingsError: the run was begun with oneDNN's kernels, which are not to be had here.
    """
    file = directory.path / FILE
    own = choose_cpu_kernels(asked, precision, device)
    if directory.rank != 0:
        _wait_for(file)
    elif not file.is_file():
        is_older = any((directory.path / name).exists() for name in ("evaluation", "checkpoints"))
        directory.write_json(FILE, {"cpu_kernels": "default" if is_older else own})
    kernels = _read(file)
    if kernels == "onednn" and device.type == "cpu" and (problem := onednn_problem()):
        raise SettingsError(
            f"the run in {directory.path} was begun with oneDNN's kernels, but {problem}; go on with the torch that "
            "began it, or remove the folder"
        )
    return kernels, kernels != own


def recorded_kernels(record: Record | None) -> KernelName:
    """Return the kernels that a finished run names, where they are to be had here, else torch's default."""
    stated = record.run.provenance.cpu_kernels if record else None
    return "onednn" if stated == "onednn" and onednn_problem() is None else "default"


def _wait_for(file: Path) -> None:
    """Wait for rank 0's file. Raises RunError where it does not come."""
    end = time.monotonic() + PATIENCE
    while not file.is_file():
        if time.monotonic() > end:
            raise RunError(
                f"{file} did not appear in {PATIENCE} s; expected rank 0 to write it: all ranks need one folder of runs"
            )
        time.sleep(0.05)


def _read(file: Path) -> KernelName:
    """Read the written choice. Raises RecordError where it is none."""
    try:
        kernels = read_json(file, "record")["cpu_kernels"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        kernels = f"nothing that can be read ({type(error).__name__})"
    if kernels not in ("onednn", "default"):
        raise RecordError(
            f"{file} names {kernels}; expected onednn or default; remove {file.parent} and run again: a record has one "
            "kind of kernels"
        )
    return cast(KernelName, kernels)
