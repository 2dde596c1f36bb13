"""Run the tests and the worker processes of the benchmark on a GPU, and outlive whatever they do."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.gpu.calls import gpu_calls
from benchmarks.speed.gpu.figures import OUT_OF_TIME, CudaTests, Timing
from fsbench.paths import REPOSITORY

CALL_SECONDS = 180.0
"""Seconds after which a call is given up: a kernel that hangs, a compilation without end."""
START_SECONDS = 300.0
"""Seconds that a worker has to import torch and to begin its first call."""
OUTCOME = re.compile(r"^(tests/.+?) (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)
WORKER = (sys.executable, "-m", "benchmarks.speed.gpu.worker")
CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Asked for by cuBLAS where torch calculates deterministically, before it is first used."""


def run_tests(paths: tuple[str, ...], seconds: float) -> CudaTests:
    """Run the tests that need a GPU in a process of their own, for at most `seconds`; none is lost when it is up."""
    command = [sys.executable, "-m", "pytest", "-v", "-n0", "-m", "cuda", "-p", "no:cacheprovider", "--color=no"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        with out.open("w") as file:
            process = subprocess.Popen(
                [*command, *paths], cwd=REPOSITORY, env=os.environ | CUBLAS, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                status: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
                _end(process)
        text = out.read_text(errors="replace")
    outcomes = OUTCOME.findall(text)
    failures = [name for name, outcome in outcomes if outcome in ("FAILED", "ERROR")]
    if status is None:
        passed = sum(outcome == "PASSED" for _, outcome in outcomes)
        return CudaTests(status=124, summary=f"not done after {seconds:.0f} s: {passed} passed", failures=failures)
    lines = [line for line in text.splitlines() if line.strip()]
    return CudaTests(status=status, summary=lines[-1].strip("= ") if lines else "", failures=failures)


def _end(process: "subprocess.Popen[Any]") -> None:
    """End a process and those that it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def time_calls(
    device: torch.device, quick: bool, deadline: float, worker: tuple[str, ...] = WORKER
) -> Iterator[Timing]:
    """Measure every call until `deadline` (of time.monotonic) in worker processes; yield a line for each.

    A worker that dies or hangs costs the call that it had begun; the next one goes on behind it.

    Args:
        device: where to calculate.
        quick: tiny shapes.
        deadline: after which no further call is begun.
        worker: command of a worker.
    """
    labels = [
        Timing(
            part=call.part, what=call.what, path=call.path, precision=call.precision, deterministic=call.deterministic
        )
        for call in gpu_calls(device, quick)
    ]
    at = 0
    while at < len(labels):
        problem = OUT_OF_TIME
        if (left := deadline - time.monotonic()) > 0:
            options = ["--device", str(device), "--first", str(at), "--seconds", str(left), *["--quick"] * quick]
            begun = False
            problem = "the process that measures ended before it had begun"
            for line in _lines([*worker, *options]):
                begun |= "begin" in line
                problem = line.get("ended", problem)
                if "done" in line:
                    yield labels[at].model_copy(update={k: v for k, v in line.items() if k != "done"})
                    at += 1
            if begun and at < len(labels):
                if "ended" in line and line["during"]:  # the call that was under way
                    yield labels[at].model_copy(update={"problem": problem})
                    at += 1
                continue
        for label in labels[at:]:
            yield label.model_copy(update={"problem": problem})
        return


def _lines(command: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the lines of a worker, and at its end {"ended": how, "during": whether a call was under way}."""
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | CUBLAS, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        _end(process)

    def alarm(seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        return timer

    timer, during, limit = alarm(START_SECONDS), False, START_SECONDS
    try:
        for text in process.stdout:
            timer.cancel()
            line = json.loads(text)
            during, limit = "begin" in line, CALL_SECONDS
            yield line
            timer = alarm(limit)
        status = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            _end(process)
    words = f"given up after {limit:.0f} s" if late.is_set() else _status(status)
    yield {"ended": words, "during": during}


def _status(status: int) -> str:
    """Return in words how a process ended."""
    if status < 0:
        return f"the process was ended by {signal.Signals(-status).name}"
    return f"the process ended with status {status}"
