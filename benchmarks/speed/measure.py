"""Measure the time and the peak memory of a call, for the benchmarks in this folder, and keep the figures in a file."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from fsbench.engine.machine.meter import Meter, release_memory, resident_mib
from fsbench.engine.provenance import PACKAGES, commit, processor
from fsbench.files import write_text

OWN_REFERENCE = "this project's own reference, written after the paper's formulas; not the authors' program"
"""Opponent of most benchmarks here."""


@dataclass(frozen=True)
class Cost:
    """Cost of a call.

    Attributes:
        seconds: median over the repeats.
        peak_mib: largest memory in MiB beyond what was held before the call.
        times: seconds of every repeat, in their order.
    """

    seconds: float
    peak_mib: float
    times: tuple[float, ...] = ()


def measure(call: Callable[[], object], device: torch.device, repeats: int = 3, processor: bool = False) -> Cost:
    """Measure `call`: one warm-up, then `repeats` timed calls, then one whose memory is watched.

    Args:
        call: what is measured.
        device: where it runs; memory is that of the GPU, or the resident memory of the process.
        repeats: timed calls; 0 makes a single call for time and memory.
        processor: count processor seconds of all threads, which other programs on the machine hardly change.
    """
    if repeats:
        call()
    times = [_timed(call, device, processor) for _ in range(repeats)]
    release_memory()
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) / 2**20 if cuda else resident_mib()
    meter = Meter(device)
    single = _timed(call, device, processor)
    times = times or [single]
    return Cost(sorted(times)[len(times) // 2], max(meter.peak_mib - before, 0), tuple(times))


def _timed(call: Callable[[], object], device: torch.device, processor: bool) -> float:
    """Return the seconds of one call."""
    clock = time.process_time if processor else time.perf_counter
    _synchronize(device)
    started = clock()
    call()
    _synchronize(device)
    return clock() - started


def _synchronize(device: torch.device) -> None:
    """Wait for the GPU, if there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or the model of the CPU and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' * (threads > 1)}"


class Row(BaseModel):
    """One measured call.

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


class Measurements(BaseModel):
    """Content of a file of results: the raw figures of one call of a benchmark, from which tables are made.

    Attributes:
        format: version of this form.
        command: the command line.
        opponent: who the first path of every `what` is.
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
    opponent: str
    machine: str
    clock: Literal["processor", "wall"]
    versions: dict[str, str]
    commit: str | None
    date: str
    rows: list[Row]


class Recorder:
    """Say what a benchmark compares on which machine, and keep its figures for `--json`.

    Args:
        device: where it calculates.
        opponent: who stands first in each comparison.
        is_processor: seconds are those of the processor.
        settings: what holds for all rows, for the first line.
    """

    def __init__(
        self, device: torch.device, opponent: str = OWN_REFERENCE, is_processor: bool = False, settings: str = ""
    ):
        self.device, self.opponent, self.is_processor = device, opponent, is_processor
        self.rows: list[Row] = []
        clock = "processor seconds" if is_processor else "seconds"
        print(
            f"{'; '.join(filter(None, (device_name(device), settings, clock)))}. Compared with {opponent}.", flush=True
        )

    def add(self, what: str, path: str, cost: Cost) -> None:
        """Keep the figures of one path."""
        self.rows.append(Row(what=what, path=path, times=list(cost.times), peak_mib=round(cost.peak_mib, 1)))

    def write(self, path: Path | None) -> None:
        """Write everything to the file `path`, if it is given."""
        if path is None:
            return
        module = getattr(sys.modules["__main__"].__spec__, "name", Path(sys.argv[0]).stem)
        content = Measurements(
            command=" ".join(["python -m", module, *_without_json(sys.argv[1:])]),
            opponent=self.opponent,
            machine=device_name(self.device),
            clock="processor" if self.is_processor else "wall",
            versions={"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
            commit=commit(),
            date=datetime.now(UTC).date().isoformat(),
            rows=self.rows,
        )
        write_text(path, json.dumps(content.model_dump(), indent=1) + "\n")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file of results."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures into this file")


def _without_json(arguments: list[str]) -> list[str]:
    """Return the arguments without `--json FILE`, which changes no figure."""
    kept = list(arguments)
    while "--json" in kept:
        at = kept.index("--json")
        del kept[at : at + 2]
    return [argument for argument in kept if not argument.startswith("--json=")]
