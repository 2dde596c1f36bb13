"""Calls that are timed on a GPU: ops, whole methods and frozen networks, at true shapes or at tiny ones.

Shapes: b samples, D channels, L tokens, N states, S image side.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.cases import dcama, emat, hmnet
from benchmarks.speed.cases.methods import method_call
from benchmarks.speed.harness import forward, training_step
from fsbench.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.backbones.pyramid import FrozenPyramid
from fsbench.backbones.vit import VITS, FrozenViT
from fsbench.ops.selective_scan import selective_scan
from fsbench.ops.selective_scan.recapped_scan import recapped_scan

Call = Callable[[], object]
Precision = Literal["fp32", "tf32", "bf16"]


@dataclass(frozen=True)
class GpuCall:
    """One call to time.

    Attributes:
        part: the part of the benchmark.
        what: what is computed, with its shapes.
        path: the way it is computed: a back end, a precision, deterministic or not, compiled or not.
        make: builds what the call needs and returns it; a call that cannot be made raises.
        precision: of matrix products while it is built and run.
        deterministic: ask torch for deterministic kernels, with warnings where there are none.
    """

    part: str
    what: str
    path: str
    make: Callable[[], Call]
    precision: Precision = "fp32"
    deterministic: bool = False

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Let torch calculate as this call asks for; afterwards as before."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        was, warned = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        try:
            matmul.allow_tf32 = cudnn.allow_tf32 = self.precision == "tf32"
            torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before
            torch.use_deterministic_algorithms(was, warn_only=warned)

    def prepared(self, device: torch.device) -> Call:
        """Build what the call needs; the call casts weights anew each time, as every step of a run does."""
        call = self.make()

        def run() -> object:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                return call()

        return run


def gpu_calls(device: torch.device, quick: bool) -> Iterator[GpuCall]:
    """Yield every call, the shortest parts first.

    Args:
        device: where to calculate.
        quick: tiny shapes, and few methods.
    """
    yield from scan_calls(device, quick)
    yield from attention_calls(device, quick)
    yield from compile_calls(device, quick)
    yield from method_calls(device, quick)


def scan_calls(device: torch.device, quick: bool) -> Iterator[GpuCall]:
    """Yield the scan of HMNet's self block and the recapped one of its hybrid block, by back end and dtype."""
    side, width = (8, 4) if quick else (64, 256)
    shape = f"{8 * width} channels, {side * side} tokens, 16 states"
    backends = ("torch", "triton", "mamba_ssm") if device.type == "cuda" else ("reference", "torch")
    for dtype in (torch.float32, torch.bfloat16):
        for backend in backends:
            path = f"{backend}, {str(dtype).removeprefix('torch.')}"
            for step in (False, True):
                what = f"scan, {'training step' if step else 'forward'}, {shape}"
                make = _made(_scan, device, side, width, dtype, backend, step)
                yield GpuCall("scan", what, path, make)
    for backend in backends:
        for step in (False, True):
            what = f"recapped scan, {'training step' if step else 'forward'}, {shape}"
            yield GpuCall("scan", what, backend, _made(_recapped, device, side, width, backend, step))


def _made(function: Callable[..., Call], *arguments: Any) -> Callable[[], Call]:
    return lambda: function(*arguments)


def _scan(device: torch.device, side: int, width: int, dtype: torch.dtype, backend: Any, step: bool) -> Call:
    generator = torch.Generator().manual_seed(0)
    inner, length, states = 8 * width, side * side, 16

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    tokens = random(1, inner, length), 0.5 * random(1, inner, length)
    decays = -torch.arange(1.0, states + 1, device=device).repeat(inner, 1)
    vectors = [random(1, 4, states, length) for _ in range(2)]
    leaves = [*tokens, decays, *vectors, torch.ones(inner, device=device)]
    bias = torch.full((inner,), -4.0, device=device)
    scan: Callable[..., Any] = selective_scan
    return _pass(lambda: scan(*leaves, None, bias, True, backend=backend), leaves, step)


def _recapped(device: torch.device, side: int, width: int, backend: Any, step: bool) -> Call:
    leaves = hmnet.scan_inputs(device, side, width)
    scan: Callable[..., Any] = recapped_scan
    return _pass(lambda: scan(*leaves, True, backend=backend), leaves, step)


def _pass(call: Callable[[], Any], leaves: list[Tensor], step: bool) -> Call:
    """Return the forward pass, or forward and backward."""

    def differentiable() -> Any:
        answer = call()
        return answer[:2] if isinstance(answer, tuple) else answer  # mamba-ssm's last state has no gradient

    return training_step(differentiable, leaves) if step else forward(call)


def attention_calls(device: torch.device, quick: bool) -> Iterator[GpuCall]:
    """Yield EMAT's masked attention with a fifth of the support kept, and all attentions of DCAMA, by path."""
    side, queries = (4, 4) if quick else (20, 25)
    for kind in ("forward", "training step"):
        for path in emat.PATHS:
            what = f"masked attention, {kind}, {side * side + 1} support tokens, {queries**2} queries, batch 2"

            def make(kind: str = kind, path: str = path) -> Call:
                return emat.attention(device, side, 0.2, queries, 2, (path,))[kind][path]

            yield GpuCall("attention", what, path, make)
    net, pixels = ("resnet50", 32) if quick else ("swin_base", 384)
    for kind in ("attention, forward", "attention, training step"):
        for path in ("reference", "chunked", "fused"):

            def make(kind: str = kind, path: str = path) -> Call:
                calls = dcama.head_calls(net, 1, pixels, device)

                def run() -> None:
                    with mock.patch.dict(os.environ, FSBENCH_MASK_ATTENTION=path):
                        calls[kind]()

                return run

            yield GpuCall("attention", f"DCAMA's {kind}, {net}, {pixels} pixels, 1-shot", path, make)


def compile_calls(device: torch.device, quick: bool) -> Iterator[GpuCall]:
    """Yield frozen networks, eager and by `torch.compile`."""
    networks = [("demo", 128)] if quick else [("dinov2_vits14", 700), ("swin_base", 384), ("resnet50", 400)]
    for name, side in networks:
        for path in ("eager", "compiled"):
            what = f"frozen network {name}, one image of {side} pixels"
            make = _made(_network, device, name, side, path == "compiled", "eager" if quick else "inductor")
            yield GpuCall("compile", what, path, make)


def _network(device: torch.device, name: str, side: int, compiled: bool, backend: str) -> Call:
    kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
    image = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    network = kind(BackboneConfig(name, "random")).network(image)
    run = torch.compile(network, backend=backend) if compiled else network

    return forward(lambda: run(image[None]))


METHODS = ("prototype", "emat", "cst", "dcama", "hsnet", "hmnet")
"""Methods that are measured, at the sizes of their own settings."""
QUICK_METHODS = ("prototype", "hmnet")
"""Methods that are measured on the demo's small network where `quick` is asked for."""


def method_calls(device: torch.device, quick: bool) -> Iterator[GpuCall]:
    """Yield whole episodes and training steps of every method in each precision, and with deterministic kernels."""
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
    for name in QUICK_METHODS if quick else METHODS:
        for step in (False, True):
            if step and name == "prototype":
                continue  # it does not learn
            what = f"{name}, {'training step' if step else 'episode'}, 1-way 1-shot, every image encoded anew"
            make = _made(method_call, device, name, step, quick)
            for precision in precisions:
                yield GpuCall("method", what, precision, make, precision)
            yield GpuCall("method", what, "fp32, deterministic: warn", make, deterministic=True)
