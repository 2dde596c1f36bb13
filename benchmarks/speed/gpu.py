"""Run every test marked cuda, then time ops, frozen networks and methods on one GPU; write the figures to a file.

    python -m benchmarks.speed gpu [--device cuda] [--out FOLDER] [--minutes 8]     # make gpu-bench
    python -m benchmarks.speed gpu --device cpu --quick                              # the same code on tiny shapes

The file is `<device>.json` in benchmarks/speed/results, or in `--out`; `--quick` writes one only with `--out`.
A path that fails, or for which no time is left, has a row that says so. Exit status: 1 if a test or a path failed, 2
without the device.
"""

import argparse
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.cases.methods import method_call
from benchmarks.speed.harness import Case, Row, device_name, forward, measure, training_step, write_measurements
from benchmarks.speed.table import RESULTS
from fsbench.base.errors import describe
from fsbench.base.paths import REPOSITORY
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.networks.backbones.timm_networks import VITS, FrozenPyramid, FrozenViT
from fsbench.networks.ops.mask_value_attention import mask_value_attention
from fsbench.networks.ops.masked_attention import masked_attention
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.runner.here.devices import driver

METHODS = ("prototype", "emat", "cst", "dcama", "hsnet", "hmnet")
"""Methods that are measured, at the sizes of their own settings."""
QUICK_METHODS = ("prototype", "hmnet")
"""Methods that are measured on the demo's small network where `quick` is asked for."""
TESTS = ("tests/fsbench", "tests/methods", "tests/cli")
QUICK_TESTS = ("tests/fsbench/networks/ops/test_launch.py",)
CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Asked for by cuBLAS where torch calculates deterministically, before it is first used."""
OUT_OF_TIME = "not measured: the time was up"
ABSENT = ("cannot be imported", "is not installed")
"""Words of a back end that asks for a package which is not here; that is no failure."""
KINDS = {"forward": False, "training step": True}

Call = Callable[[], object]


def gpu_cases(device: torch.device, quick: bool) -> Iterator[Case]:
    """Yield every case, the shortest first; `quick` has tiny shapes and few methods."""
    for cases in (scan_cases, attention_cases, network_cases, method_cases):
        yield from cases(device, quick)


def _at_first_call(make: Callable[..., Call], *arguments: Any) -> Call:
    """Return a call of what `make` builds, which is built at the first one: what cannot be built fails alone."""
    build = cache(partial(make, *arguments))
    return lambda: build()()


def _draw(device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(device, dtype)


def _pass(call: Callable[[], Any], leaves: list[Tensor], step: bool) -> Call:
    """Return the forward pass, or forward and backward."""

    def differentiable() -> Any:
        answer = call()
        return answer[:2] if isinstance(answer, tuple) else answer  # mamba-ssm's last state has no gradient

    return training_step(differentiable, leaves) if step else forward(call)


def scan_cases(device: torch.device, quick: bool) -> Iterator[Case]:
    """Yield the scan of HMNet by back end and dtype."""
    inner, tokens, states = (32, 64, 16) if quick else (2048, 4096, 16)
    backends = ("torch", "triton", "mamba_ssm") if device.type == "cuda" else ("reference", "torch")
    selective: Callable[..., Any] = selective_scan

    def scan(backend: str, dtype: torch.dtype, step: bool) -> Call:
        u, delta = (_draw(device, 1, inner, tokens, dtype=dtype) for _ in range(2))
        vectors = [_draw(device, 1, 4, states, tokens, dtype=dtype) for _ in range(2)]
        decays = -torch.arange(1.0, states + 1, device=device).repeat(inner, 1)
        leaves = [u, 0.5 * delta, decays, *vectors, torch.ones(inner, device=device)]
        bias = torch.full((inner,), -4.0, device=device)
        return _pass(lambda: selective(*leaves, None, bias, True, backend=backend), leaves, step)

    for kind, step in KINDS.items():
        paths = {
            f"{backend}, {str(dtype).removeprefix('torch.')}": _at_first_call(scan, backend, dtype, step)
            for dtype, backend in product((torch.float32, torch.bfloat16), backends)
        }
        yield Case(f"scan, {kind}, {inner} channels, {tokens} tokens, {states} states", paths)


def attention_cases(device: torch.device, quick: bool) -> Iterator[Case]:
    """Yield EMAT's masked attention with a fifth of the support kept, and DCAMA's average of masks, by back end."""
    side, queries, positions = (4, 16, 16) if quick else (20, 625, 48**2)
    draw, tokens = partial(_draw, device), side**2 + 1
    masked: Callable[..., Tensor] = masked_attention
    average: Callable[..., Tensor] = mask_value_attention

    def emat(backend: str, step: bool) -> Call:
        q, x = draw(2, 32, queries, (side // 2) ** 2 + 1), draw(2, 72, queries, tokens)
        weight, bias = draw(64, 72), draw(64)
        keep = (torch.arange(tokens, device=device) % 5 == 0).expand(2, -1)
        return _pass(lambda: masked(q, x, weight / 8, bias, keep, 8, backend), [q, weight, bias], step)

    def dcama(backend: str, step: bool) -> Call:
        q, k, masks = draw(2, 256, positions), draw(2, 256, positions), torch.ones(2, positions, device=device)
        return _pass(lambda: average(q, k / 4, masks, 8, backend=backend), [q, k], step)

    for kind, step in KINDS.items():
        yield Case(
            f"EMAT's masked attention, {kind}, {tokens} support tokens, {queries} queries, batch 2",
            {backend: _at_first_call(emat, backend, step) for backend in ("reference", "packed", "fused")},
        )
        yield Case(
            f"DCAMA's attention, {kind}, {positions} queries and support positions, 2 layers",
            {backend: _at_first_call(dcama, backend, step) for backend in ("reference", "chunked", "fused")},
        )


def network_cases(device: torch.device, quick: bool) -> Iterator[Case]:
    """Yield frozen networks, eager and by `torch.compile`."""

    def network(name: str, side: int, compiled: bool) -> Call:
        kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
        image = _draw(device, 3, side, side)
        eager = kind(BackboneConfig(name, "random")).network(image)
        run = torch.compile(eager, backend="eager" if quick else "inductor") if compiled else eager
        return forward(lambda: run(image[None]))

    for name, side in [("demo", 128)] if quick else [("dinov2_vits14", 700), ("swin_base", 384), ("resnet50", 400)]:
        paths = {path: _at_first_call(network, name, side, path == "compiled") for path in ("eager", "compiled")}
        yield Case(f"frozen network {name}, one image of {side} pixels", paths)


def method_cases(device: torch.device, quick: bool) -> Iterator[Case]:
    """Yield whole episodes and training steps of every method in each precision, and with deterministic kernels."""

    def call(name: str, step: bool, precision: str, deterministic: bool) -> Call:
        """Weights are cast anew in each call, as every step of a run does."""
        own = method_call(device, name, step, quick)

        def run() -> None:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
            try:
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                    own()
            finally:
                torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
                torch.use_deterministic_algorithms(False)

        return run

    for name, (kind, step) in product(QUICK_METHODS if quick else METHODS, KINDS.items()):
        if step and name == "prototype":
            continue  # it does not learn
        paths = {word: _at_first_call(call, name, step, word, False) for word in ("fp32", "tf32", "bf16")}
        paths["fp32, deterministic: warn"] = _at_first_call(call, name, step, "fp32", True)
        kind = "training step" if step else "episode"
        yield Case(f"{name}, {kind}, 1-way 1-shot, every image encoded anew", paths)


def time_cases(cases: Iterator[Case], device: torch.device, quick: bool, deadline: float) -> Iterator[Row]:
    """Measure the paths of every case, each by itself; yield a row for each.

    Args:
        cases: see `gpu_cases`.
        device: where they calculate.
        quick: call each path once.
        deadline: of time.monotonic, after which no further path is begun.
    """
    warnings.simplefilter("ignore")  # torch names every kernel that has no deterministic form
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for case in cases:
        for name, path in case.paths.items():
            if time.monotonic() > deadline:
                yield Row(what=case.what, path=name, times=[], problem=OUT_OF_TIME)
                continue
            torch.manual_seed(0)
            try:
                yield from measure(replace(case, paths={name: path}), device, repeats=0 if quick else 3)
            except Exception as error:  # whatever a kernel, a compiler or a package raises costs this path alone
                yield Row(what=case.what, path=name, times=[], problem=describe(error)[:300])


def run_tests(paths: tuple[str, ...], seconds: float) -> tuple[int, str]:
    """Run the tests marked cuda for at most `seconds`; return pytest's exit status (124: out of time) and its words."""
    options = ["-q", "-n0", "-m", "cuda", "-rfE", "-p", "no:cacheprovider", "--color=no"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *paths], cwd=REPOSITORY, env=os.environ | CUBLAS,
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124, f"not done after {seconds:.0f} s"
    lines = [line for line in done.stdout.splitlines() if line.strip()] or [done.stderr]
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, "; ".join([*failures, lines[-1]])


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


def failed(row: Row) -> bool:
    """Whether something broke: not the time, and not an optional package that is absent."""
    return bool(row.problem) and row.problem != OUT_OF_TIME and not any(word in row.problem for word in ABSENT)


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to try the code")
    parser.add_argument("--out", type=Path, help="folder of the file")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no further path is measured")
    options = parser.parse_args(arguments)
    device, quick, out = options.device, options.quick, options.out or (None if options.quick else RESULTS)
    if problem := absent_device(device, quick):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # torch makes no GPU the current one that has no number
        torch.cuda.set_device(device)
    deadline = time.monotonic() + options.minutes * 60
    name = device_name(device)
    print(f"{name}; each path beside the plain one of this project or torch's own, which stands first", flush=True)
    status, tests = run_tests(QUICK_TESTS if quick else TESTS, options.minutes * 60 / 2)
    print(f"CUDA tests: {tests}", flush=True)
    os.environ |= CUBLAS
    rows = []
    for row in time_cases(gpu_cases(device, quick), device, quick, deadline):
        rows.append(row)
        words = row.problem or f"{row.seconds:.4f} s {row.peak_mib:7.0f} MiB"
        print(f"{row.what} [{row.path}]: {words}", flush=True)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        file = out / (re.sub(r"[^a-z0-9]+", "-", name.split(",")[0].lower()).strip("-") + "-quick" * quick + ".json")
        command = " ".join(["python -m benchmarks.speed gpu", *arguments])
        opponent = f"the first path, this project's plain one or torch's own. CUDA tests: {tests}"
        write_measurements(file, command, opponent, device, rows)
        print(f"{file}: {len(rows)} paths, {sum(bool(row.problem) for row in rows)} without figures")
    return 1 if any(map(failed, rows)) or status not in (0, 5) else 0
