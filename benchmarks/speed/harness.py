"""Measure cases: one thing computed in several ways that take turns, their seconds, and the memory of each.

The first way of a case is the opponent of the last.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY
from fsbench.records.machine import PACKAGES, commit, processor
from fsbench.runner.engine.machine.meter import Meter, release_memory, resident_mib
from fsbench.runner.here import driver

RESULTS = REPOSITORY / "benchmarks/speed/results"


@dataclass(frozen=True)
class Case:
    """One thing that is computed in several ways.

    Attributes:
        what: what is computed, with its shapes.
        paths: the ways by name; the first is the opponent, and named so on the page.
        check: largest difference of their answers, relative to the largest number; called before anything is timed.
        tolerance: largest difference that is allowed.
        units: how many of what is named one call computes; seconds are those of one.
        takes_turn: the calls take the number of the turn. What they keep from turn to turn has a bound of its own, so
            their memory is not watched.
    """

    what: str
    paths: Mapping[str, Callable[..., object]]
    check: Callable[[], float] | None = None
    tolerance: float = math.inf
    units: int = 1
    takes_turn: bool = False


class Row(BaseModel):
    """One way of a case, measured.

    Attributes:
        what: what is computed, with its shapes.
        path: the way it is computed; the first path of a `what` is the opponent.
        times: seconds of every repeat.
        peak_mib: memory beyond what was held before the call; None where it was not watched.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    path: str
    times: list[float]
    peak_mib: float | None = None

    @property
    def seconds(self) -> float:
        """The median over the repeats."""
        return sorted(self.times)[len(self.times) // 2]


class Measurements(BaseModel):
    """Content of a file of results: the raw figures of one benchmark, from which tables are made.

    Attributes:
        format: version of this form.
        command: the command line.
        machine: processor or GPU, and threads.
        clock: what the seconds are of: "processor" of all threads, or "wall".
        versions: of packages.
        commit: of the suite; None where the history does not hold it.
        date: UTC.
        rows: in the order of measuring.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    command: str
    machine: str
    clock: Literal["processor", "wall"]
    versions: dict[str, str]
    commit: str | None
    date: str
    rows: list[Row]


def check(case: Case) -> float | None:
    """Return how far the answers of a case's ways differ, or None where that cannot be said.

    Raises:
        SystemExit: they differ by more than is allowed.
    """
    difference = case.check() if case.check else None
    if difference is not None and not difference <= case.tolerance:
        raise SystemExit(f"{case.what}: the ways differ by {difference:.1e}, expected at most {case.tolerance:.0e}")
    return difference


def measure(case: Case, device: torch.device, repeats: int) -> list[Row]:
    """Measure a case: its ways take turns, then the memory of each is watched in one more call.

    Ways that no check has called are called once before.

    Args:
        case: what is measured.
        device: where its calls compute.
        repeats: timed turns; 0 makes a single call of each way for time and memory.
    """
    times: dict[str, list[float]] = {name: [] for name in case.paths}
    for call in case.paths.values() if repeats and not (case.check or case.takes_turn) else ():
        call()
    for turn in range(repeats or int(case.takes_turn)):
        for name, call in case.paths.items():
            times[name].append(_timed(partial(call, turn) if case.takes_turn else call, device) / case.units)
    peaks: dict[str, float] = {}
    for name, call in case.paths.items() if not case.takes_turn else ():
        seconds, peaks[name] = _timed_and_watched(call, device)
        if not repeats:
            times[name].append(seconds / case.units)
    return [
        Row(what=case.what, path=name, times=taken, peak_mib=round(peaks[name], 1) if name in peaks else None)
        for name, taken in times.items()
    ]


def lines(rows: Sequence[Row], difference: float | None) -> list[str]:
    """Return what was measured, and a line for every way: seconds and memory.

    Where the ways give one answer, each has its ratio to the first, and the last line how far they differ.
    """
    first = rows[0].seconds
    lines = [rows[0].what]
    for row in rows:
        ratio = (
            f" {first / max(row.seconds, 1e-9):6.2f}x as fast" if row is not rows[0] and difference is not None else ""
        )
        memory = "" if row.peak_mib is None else f" {row.peak_mib:7.0f} MiB"
        lines.append(f"  {row.path:22} {row.seconds:9.4f} s{memory}{ratio}")
    if difference is not None:
        lines[-1] += f", differs by {difference:.1e}"
    return lines


def clock_of(device: torch.device) -> tuple[Literal["processor", "wall"], Callable[[], float]]:
    """Return the name of the clock for a device, and the function that reads it.

    Other programs on the machine hardly change a processor's seconds.
    """
    return ("wall", time.perf_counter) if device.type == "cuda" else ("processor", time.process_time)


def _timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call: of the processor in all threads, on a GPU those of the clock."""
    clock = clock_of(device)[1]
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    started = clock()
    call()
    wait()
    return clock() - started


def _timed_and_watched(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the seconds of one call, and its peak memory in MiB beyond what was held before."""
    release_memory()
    before = torch.cuda.memory_allocated(device) / 2**20 if device.type == "cuda" else resident_mib()
    meter = Meter(device)
    seconds = _timed(call, device)
    return seconds, max(meter.peak_mib - before, 0.0)


def call_difference(plain: Callable[[], Any], fast: Callable[[], Any]) -> float:
    """Return the largest difference of what two calls return, relative to the plain answer's largest number."""
    answers = [plain(), fast()]
    tensors = [[answer] if isinstance(answer, Tensor) else list(answer) for answer in answers]
    first, second = (torch.cat([t.detach().flatten().float() for t in listed]) for listed in tensors)
    return float((first - second).abs().max() / first.abs().max())


def sample_folder(given: str | None, option: str, sample: str) -> str:
    """Return the folder that an option gives, or that of a sample in the folder $FSBENCH_TEST_DATA.

    Raises:
        SystemExit: there is neither.
    """
    samples = os.environ.get("FSBENCH_TEST_DATA")
    if given is None and samples is None:
        raise SystemExit(f"give {option}, or set FSBENCH_TEST_DATA to the folder of samples")
    return given or f"{samples}/{sample}"


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, its memory and driver, or the model of the CPU and its threads."""
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return f"{gpu.name}, {gpu.total_memory // 2**20} MiB, driver {driver() or 'unknown'}, CUDA {torch.version.cuda}"
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' * (threads > 1)}"


def write_measurements(file: Path, command: str, device: torch.device, rows: list[Row]) -> None:
    """Write the figures of a benchmark into a file of results."""
    content = Measurements(
        command=command,
        machine=device_name(device),
        clock=clock_of(device)[0],
        versions={"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        rows=rows,
    )
    write_text(file, json.dumps(content.model_dump(), indent=1) + "\n")
