"""Run every test marked cuda and time ops, methods and frozen networks on one GPU; write the figures to a file.

    python -m benchmarks.speed gpu [--device cuda] [--out FOLDER] [--minutes 8]     # make gpu-bench
    python -m benchmarks.speed gpu --device cpu --quick                              # the same code on tiny shapes

The file is `<device>.json` in benchmarks/speed/results, or in `--out`; `python -m benchmarks.speed.table` puts it on
the page of speed. Calls run in a process of their own: one that fails, ends the process or hangs, or for which no time
is left, has a line that says so. Exit status: 1 if a test or a call failed, 2 without the device.
"""

import argparse
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.speed.gpu.drive import run_tests, time_calls
from benchmarks.speed.gpu.figures import GpuFigures
from benchmarks.speed.harness import package_versions
from benchmarks.speed.table import RESULTS
from fsbench.doctor.machine import driver
from fsbench.engine.provenance import commit, processor
from fsbench.files import write_text

OPTIONAL = ("triton", "mamba-ssm", "causal-conv1d")
TESTS = ("tests/fsbench", "tests/methods", "tests/cli")
QUICK_TESTS = ("tests/fsbench/ops/test_launch.py",)


def absent_device(device: torch.device, quick: bool) -> str | None:
    """Return in one line why `device` cannot be measured, or None."""
    if device.type == "cpu":
        return None if quick else "the true shapes take a CPU hours; expected --device cuda, or --device cpu --quick"
    if device.type != "cuda":
        return f"--device is {device}, expected cuda, cuda:1 … or cpu"
    if not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA: install a CUDA build"
        where = f", driver {driver()}" if driver() else ", no NVIDIA driver was found"
        return f"torch sees no GPU (it is built {built}{where}); to try the code: --device cpu --quick"
    if (device.index or 0) >= torch.cuda.device_count():
        return f"--device is {device}, but there are {torch.cuda.device_count()} GPUs, counted from 0"
    return None


def numbered(device: torch.device) -> torch.device:
    """Return the device with its number: torch makes no GPU the current one that has none."""
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def figures(device: torch.device, quick: bool, minutes: float) -> GpuFigures:
    """Run the tests, then measure; print a line for each thing that is done.

    Args:
        device: `numbered`.
        quick: tiny shapes.
        minutes: after which no further call is begun; the tests have half of them.
    """
    started = time.monotonic()
    facts = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    name = facts.name if facts else processor()
    print(f"{name}; each call beside the plain path of this project or torch's own, which stands first", flush=True)
    tests = run_tests(QUICK_TESTS if quick else TESTS, minutes * 60 / 2)
    print(f"CUDA tests: {tests.summary}", *tests.failures, sep="\n  ", flush=True)
    timings = []
    for timing in time_calls(device, quick, started + minutes * 60):
        timings.append(timing)
        words = timing.problem if timing.seconds is None else f"{timing.seconds:.4f} s {timing.peak_mib:7.0f} MiB"
        print(f"{timing.what} [{timing.path}]: {words}", flush=True)
    return GpuFigures(
        device=name,
        kind="cuda" if facts else "cpu",
        capability=f"{facts.major}.{facts.minor}" if facts else "",
        memory_mib=facts.total_memory // 2**20 if facts else None,
        driver=driver(),
        cuda=torch.version.cuda or "",
        versions=package_versions(OPTIONAL),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        minutes=round((time.monotonic() - started) / 60, 2),
        tests=tests,
        timings=timings,
    )


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to try the code")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the file")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no further call is measured")
    options = parser.parse_args(arguments)
    if problem := absent_device(options.device, options.quick):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    found = figures(numbered(options.device), options.quick, options.minutes)
    name = re.sub(r"[^a-z0-9]+", "-", found.device.lower()).strip("-") + ("-quick" if found.quick else "")
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / f"{name}.json", json.dumps(found.model_dump(), indent=1) + "\n")
    without = sum(timing.seconds is None for timing in found.timings)
    print(f"{options.out / f'{name}.json'}: {len(found.timings)} calls, {without} without figures")
    return 1 if any(timing.failed for timing in found.timings) or found.tests.status not in (0, 5) else 0
