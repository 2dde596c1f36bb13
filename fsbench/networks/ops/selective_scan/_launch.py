"""Launch of Triton kernels on the device that holds their tensors."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


def launch(kernel: Any, grid: tuple[int, ...], first: Tensor, *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the device of its first argument.

    Triton launches on the current device whatever its arguments say, so tensors of `cuda:1` would reach a kernel that
    runs on `cuda:0`.

    Args:
        kernel: function decorated by `triton.jit`.
        grid: numbers of programs.
        first: the kernel's first argument.
        arguments: its others.
        constants: its `constexpr` arguments.
    """
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        kernel[grid](first, *arguments, **constants)
