"""Measure calls in a process of their own, so that a kernel which breaks the GPU's context or hangs costs one call.

    python -m benchmarks.speed.gpu.worker --device cuda:0 --first 0 --seconds 480 [--quick]

Standard output has lines of JSON: {"begin": N} before call number N, {"done": N, ...} with its figures after it. What
libraries print goes to standard error.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from benchmarks.speed.gpu.calls import GpuCall, gpu_calls
from benchmarks.speed.gpu.figures import OUT_OF_TIME
from benchmarks.speed.harness import Case, measure
from fsbench.engine.machine.meter import release_memory
from fsbench.errors import describe

BROKEN = 3
"""Exit status after a call that left the GPU unusable for this process."""


def measure_calls(device: torch.device, quick: bool, first: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure the calls from number `first` on; yield a line before and after each.

    Ends with the exit status `BROKEN` when a call has broken the GPU's context: nothing could be measured after it.

    Args:
        device: where to calculate.
        quick: tiny shapes.
        first: number of the first call.
        seconds: after which no further call is begun.
    """
    deadline = time.monotonic() + seconds
    for number, call in enumerate(islice(gpu_calls(device, quick), first, None), first):
        if time.monotonic() > deadline:
            yield {"done": number, "problem": OUT_OF_TIME}
            continue
        yield {"begin": number}
        figures = _measured(call, device, quick)
        usable = _clean(device)
        yield {"done": number} | figures
        if not usable:
            raise SystemExit(BROKEN)


def _measured(call: GpuCall, device: torch.device, quick: bool) -> dict[str, Any]:
    """Return the figures of a call, or its problem."""
    try:
        with call.settings():
            (row,) = measure(Case(call.what, {call.path: call.prepared(device)}), device, repeats=0 if quick else 3)
    except Exception as error:  # whatever a kernel, a compiler or a package raises must not cost the others' figures
        return {"problem": describe(error)[:300]}
    return {"times": row.times, "seconds": row.seconds, "peak_mib": row.peak_mib}


def _clean(device: torch.device) -> bool:
    """Give memory back; return whether the GPU still answers."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()  # which keeps compiled networks
    release_memory()
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    except RuntimeError:  # an illegal access stays until the process ends
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True, type=torch.device)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    warnings.simplefilter("ignore")  # torch names every kernel that has no deterministic form
    if options.device.type == "cuda":
        torch.cuda.set_device(options.device)
    for line in measure_calls(options.device, options.quick, options.first, options.seconds):
        print(json.dumps(line), file=lines, flush=True)


if __name__ == "__main__":
    main()
