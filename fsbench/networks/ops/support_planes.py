"""Activations of HSNet kept plane by plane, and the convolution of their support side as matrix products.

A plane is all query positions of one channel at one support position. With planes one after another, in the order of
support positions and then channels, the neighbours that a kernel's row sees are one matrix in memory: a strided
convolution over the support's side is a few large matrix products without any copy, forward and backward.

Shapes: B samples, C channels in, D channels out, (hq, wq) and (hs, ws) the maps of query and support, P = hq·wq.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class PlaneWindows:
    """Activations of B samples that are constant outside a window of support positions.

    Attributes:
        windows: for each sample, activations (rows, columns, C, hq, wq) in the window, contiguous.
        corners: for each sample, row and column of the window's first position in the support's map.
        rest: for each sample, value (C,) at all support positions outside of the window.
        support_plane: size (hs, ws) of the support's map.
    """

    windows: Sequence[Tensor]
    corners: Sequence[tuple[int, int]]
    rest: Sequence[Tensor]
    support_plane: tuple[int, int]

    def outside(self, sample: int) -> int:
        """Return the number of support positions outside of the window of sample number `sample`."""
        rows, columns = self.windows[sample].shape[:2]
        return self.support_plane[0] * self.support_plane[1] - rows * columns

    def dense(self) -> Tensor:
        """Return the activations at all support positions as one tensor (B, C, hq, wq, hs, ws)."""
        wholes = []
        for window, (row, column), rest in zip(self.windows, self.corners, self.rest, strict=True):
            whole = rest[:, None, None].expand(*self.support_plane, *window.shape[2:]).contiguous()
            whole[row : row + window.shape[0], column : column + window.shape[1]] = window
            wholes.append(whole)
        return from_planes(torch.stack(wholes))


def to_planes(x: Tensor) -> Tensor:
    """Rearrange activations (B, C, hq, wq, hs, ws) to contiguous planes (B, hs, ws, C, hq, wq).

    No copy is made of a tensor from `from_planes`.
    """
    return x.permute(0, 4, 5, 1, 2, 3).contiguous()


def from_planes(planes: Tensor) -> Tensor:
    """Rearrange planes (B, hs, ws, C, hq, wq) to activations (B, C, hq, wq, hs, ws), a view of the same memory."""
    return planes.permute(0, 3, 4, 5, 1, 2)


def add_over_support(
    y: Tensor, x: Tensor, weight: Tensor, stride: int, shift: tuple[int, int], outputs: tuple[int, int]
) -> Tensor:
    """Return `y` plus a strided 2-D convolution of `x` along the support's rows and columns; in place on a CPU.

    Args:
        y: planes (output rows · columns, D, hq, wq), contiguous and no view of another tensor.
        x: planes (rows, columns, C, hq, wq), surrounded by zeros.
        weight: kernel (D, C, k, k).
        stride: stride in rows and in columns.
        shift: row and column of `x` under the kernel's first tap at the first output; may be negative.
        outputs: numbers of output rows and columns.
    """
    x, weight = x.to(y.dtype).flatten(3), weight.to(y.dtype)
    if x.device.type == "cpu":
        added: Tensor = _AddOverSupport.apply(y, x, weight, stride, shift, outputs)
        return added
    return y + _over_support_at_once(x, weight, stride, shift, outputs).view(y.shape)


def _over_support_at_once(
    x: Tensor, weight: Tensor, stride: int, shift: tuple[int, int], outputs: tuple[int, int]
) -> Tensor:
    """Return what `add_over_support` adds, by one product with a copy of all neighbours: few calls, for a GPU."""
    kernel = weight.shape[2]
    padding = [0, 0, 0, 0]
    for size, first, count in zip(x.shape[1::-1], shift[::-1], outputs[::-1], strict=True):
        padding += [-first, first + (count - 1) * stride + kernel - size]
    seen = F.pad(x, padding).unfold(0, kernel, stride).unfold(1, kernel, stride)  # (rows out, columns out, C, P, k, k)
    neighbours = seen.permute(0, 1, 2, 4, 5, 3).flatten(2, 4)
    return weight.flatten(1) @ neighbours


@dataclass(frozen=True)
class _Reach:
    """Inputs of one axis that an output sees.

    Attributes:
        output: number of the output.
        first: number of the first input.
        tap: the kernel's tap that meets it.
        count: number of inputs.
    """

    output: int
    first: int
    tap: int
    count: int


def _reaches(outputs: int, inputs: int, kernel: int, stride: int, shift: int) -> Iterator[_Reach]:
    """Yield the inputs of each output that sees any."""
    for output in range(outputs):
        start = output * stride + shift
        tap = max(0, -start)
        count = min(kernel, inputs - start) - tap
        if count > 0:
            yield _Reach(output, start + tap, tap, count)


class _AddOverSupport(torch.autograd.Function):
    """`add_over_support` with its gradients, one product for each output and row of the kernel."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        y: Tensor,
        x: Tensor,
        weight: Tensor,
        stride: int,
        shift: tuple[int, int],
        outputs: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.places = stride, shift, outputs  # type: ignore[attr-defined]  # as torch documents it
        ctx.mark_dirty(y)
        matrices, planes = _row_matrices(weight), y.view(*outputs, len(weight), -1)
        for i, j, row, at, taps in _products(x, weight, stride, shift, outputs):
            planes[i, j].addmm_(matrices[row.tap][:, taps], x[row.first].flatten(0, 1)[at])
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dy = gradients[0].contiguous()
        x, weight = ctx.saved_tensors
        planes = dy.view(*ctx.places[2], len(weight), -1)
        matrices, needs_x = _row_matrices(weight), ctx.needs_input_grad[1]
        exact = torch.promote_types(matrices.dtype, torch.float32)  # many products are added, too many for half types
        d_matrices = torch.zeros_like(matrices, dtype=exact)
        dx = torch.zeros_like(x) if needs_x else None
        for i, j, row, at, taps in _products(x, weight, *ctx.places):
            d_taps, seen = d_matrices[row.tap][:, taps], x[row.first].flatten(0, 1)[at]
            if exact == matrices.dtype:
                d_taps.addmm_(planes[i, j], seen.mT)
            else:
                d_taps += planes[i, j] @ seen.mT
            if dx is not None:
                dx[row.first].flatten(0, 1)[at].addmm_(matrices[row.tap][:, taps].mT, planes[i, j])
        kernel = weight.shape[2]
        d_weight = d_matrices.unflatten(2, (kernel, -1)).permute(1, 3, 0, 2)
        return dy, dx, d_weight.to(weight.dtype), None, None, None


def _row_matrices(weight: Tensor) -> Tensor:
    """Return a kernel (D, C, k, k) as one matrix (D, k·C) for each of its rows: (k, D, k·C)."""
    return weight.permute(2, 0, 3, 1).flatten(2)


def _products(
    x: Tensor, weight: Tensor, stride: int, shift: tuple[int, int], outputs: tuple[int, int]
) -> Iterator[tuple[int, int, _Reach, slice, slice]]:
    """Yield the products of a convolution.

    Yields:
        row and column of the output; one row of inputs and its tap; the slices of that row of `x` with columns and
        channels joined, and of the columns of the matrix of `_row_matrices`.
    """
    channels, kernel = weight.shape[1:3]
    columns = list(_reaches(outputs[1], x.shape[1], kernel, stride, shift[1]))
    for rows in _reaches(outputs[0], x.shape[0], kernel, stride, shift[0]):
        for step in range(rows.count):
            row = _Reach(rows.output, rows.first + step, rows.tap + step, 1)
            for column in columns:
                at = slice(column.first * channels, (column.first + column.count) * channels)
                taps = slice(column.tap * channels, (column.tap + column.count) * channels)
                yield rows.output, column.output, row, at, taps
