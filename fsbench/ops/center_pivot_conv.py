"""HSNet's centre-pivot 4-D convolution, on whole correlations and on those of the support pixels that a mask keeps.

Sections are those of classical-baselines.md.

Shapes: B samples, C channels in, D channels out, (hq, wq) and (hs, ws) the maps of query and support, P = hq·wq, n kept
support pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.ops.kept_correlation import KeptCorrelation, pick

CHUNK = 2**20
"""Numbers of the canvases that are convolved at a time: some megabytes, which stay in a processor's cache."""


class CenterPivotConv4d(nn.Module):
    """4-D convolution with the two centre planes of its kernel, strided on the support side (§4.3).

    One 2-D convolution runs over the query's plane at the support positions 0, stride, 2·stride, …, the other over the
    support's plane, with that stride, at every query position; their sum is the output.

    Args:
        inner: C.
        outer: D.
        kernel: side of both kernels, odd.
        stride: stride on the support's plane.
    """

    def __init__(self, inner: int, outer: int, kernel: int, stride: int):
        super().__init__()
        self.stride = stride
        self.kernel = kernel
        self.conv1 = nn.Conv2d(inner, outer, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(inner, outer, kernel, stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor | KeptCorrelation) -> Tensor:
        """(B, C, hq, wq, hs, ws) -> (B, D, hq, wq, ceil(hs / stride), ceil(ws / stride))."""
        if isinstance(x, KeptCorrelation):
            samples = [self._convolve_kept(x, sample) for sample in range(len(x.pixels))]
            return samples[0] if len(samples) == 1 else torch.cat(samples)
        if self.stride == 1 and max(x.shape[4:]) <= self.kernel // 2 + 1:
            return self._convolve_small(x)
        pruned = x[..., :: self.stride, :: self.stride]
        planes = rearrange(pruned, "b c hq wq hs ws -> (b hs ws) c hq wq")
        over_query = rearrange(
            self.conv1(planes), "(b hs ws) d hq wq -> b d hq wq hs ws", hs=pruned.shape[4], ws=pruned.shape[5]
        )
        over_support = self._over_support(x.flatten(2, 3), self.kernel // 2)
        return over_support.unflatten(2, x.shape[2:4]).add_(over_query)

    def _over_support(self, x: Tensor, padding: int) -> Tensor:
        """Convolve the support's plane of (B, C, P, ·, ·).

        One kernel of depth 1 over all query positions: no copy of the tensor, and two to three times as fast as a batch
        of planes.
        """
        return F.conv3d(
            x,
            self.conv2.weight[:, :, None],
            self.conv2.bias,
            stride=(1, self.stride, self.stride),
            padding=(0, padding, padding),
        )

    def _convolve_small(self, x: Tensor) -> Tensor:
        """Convolve where every output position sees the whole support's plane: there `conv2` is one matrix product."""
        batch, _, height, width, rows, columns = x.shape
        planes = rearrange(x, "b c hq wq hs ws -> (b hs ws) c hq wq").contiguous()
        assert self.conv1.bias is not None and self.conv2.bias is not None
        y = F.conv2d(planes, self.conv1.weight, self.conv1.bias + self.conv2.bias, padding=self.kernel // 2)
        down, right = (_taps(side, self.kernel, x.device) for side in (rows, columns))
        taps = self.conv2.weight[:, :, down[:, None, :, None], right[:, None, :]]
        matrix = rearrange(taps, "d c ho wo hs ws -> (ho wo d) (hs ws c)").expand(batch, -1, -1)
        y = torch.baddbmm(y.view(batch, -1, height * width), matrix, planes.view(batch, -1, height * width))
        return rearrange(y, "b (hs ws d) (hq wq) -> b d hq wq hs ws", hs=rows, ws=columns, hq=height, wq=width)

    def _convolve_kept(self, x: KeptCorrelation, sample: int) -> Tensor:
        """Return the output (1, D, hq, wq, ·, ·) of one sample; where no kernel meets a kept pixel it is the bias."""
        assert self.conv1.bias is not None and self.conv2.bias is not None
        row, column = x.pixels[sample] // x.support_plane[1], x.pixels[sample] % x.support_plane[1]
        down = _Window.around(row, x.support_plane[0], self.kernel, self.stride)
        right = _Window.around(column, x.support_plane[1], self.kernel, self.stride)
        inside = ((down.places < down.side) & (right.places < right.side)).nonzero()[:, 0]
        places = (down.places * right.side + right.places)[inside]
        pivots = ((row % self.stride == 0) & (column % self.stride == 0)).nonzero()[:, 0]

        queries, step = x.query.shape[-1], max(1, CHUNK // (x.query.shape[1] * down.side * right.side))
        over_support, centres = [], []
        for first in range(0, queries, step):
            cosines = x.cosines(sample, first, first + step)
            centres.append(pick(cosines, pivots))
            canvas = cosines.new_zeros(*cosines.shape[:2], down.side * right.side)
            seen = cosines if len(inside) == len(row) else pick(cosines, inside)
            canvas.scatter_(2, places.expand(*cosines.shape[:2], -1), seen)
            over_support.append(self._over_support(canvas.view(1, *cosines.shape[:2], down.side, right.side), 0))
        y = torch.cat(over_support, 2)  # (1, D, P, ·, ·)

        planes = rearrange(torch.cat(centres, 1), "l (hq wq) n -> n l hq wq", hq=x.query_plane[0])
        over_query = self.conv1(planes).flatten(2)
        empty = self.conv1.bias.to(over_query.dtype)[:, None].expand(1, -1, queries)
        order = row.new_full((down.outputs * right.outputs,), len(planes))
        at = (row // self.stride - down.first) * right.outputs + column // self.stride - right.first
        order[at[pivots]] = torch.arange(len(planes), device=order.device)
        over_query = torch.cat([over_query, empty]).index_select(0, order)
        y = y.add_(rearrange(over_query, "(h w) d p -> 1 d p h w", h=down.outputs))

        sides = tuple(-(-side // self.stride) for side in x.support_plane)
        if (down.outputs, right.outputs) != sides:
            bias = (self.conv1.bias + self.conv2.bias).to(y.dtype)[:, None, None, None]
            whole = bias.expand(-1, queries, *sides)[None].contiguous()
            whole[..., down.first : down.first + down.outputs, right.first : right.first + right.outputs] = y
            y = whole
        return y.unflatten(2, x.query_plane)

    def reference(self, x: Tensor) -> Tensor:
        """Return the output of `forward` by the definition: 2-D convolutions of batches of planes."""
        pruned = x[..., :: self.stride, :: self.stride]
        results = []
        for conv, source, batch, plane in (
            (self.conv1, pruned, "b hs ws", "hq wq"),
            (self.conv2, x, "b hq wq", "hs ws"),
        ):
            sizes = dict(zip(["b", "c", "hq", "wq", "hs", "ws"], source.shape, strict=True))
            y = conv(rearrange(source, f"b c hq wq hs ws -> ({batch}) c {plane}"))
            known = {name: sizes[name] for name in batch.split()}
            results.append(rearrange(y, f"({batch}) d {plane} -> b d hq wq hs ws", **known))
        return results[0] + results[1]


@dataclass(frozen=True)
class _Window:
    """Outputs of a strided convolution along one axis that meet any kept pixel, and the inputs that they see.

    Attributes:
        first: number of the first such output.
        outputs: their number, at least 1.
        side: number of inputs, the padding included.
        places: (n,) place of each kept pixel among the inputs; side or more where no output sees it.
    """

    first: int
    outputs: int
    side: int
    places: Tensor

    @staticmethod
    def around(kept: Tensor, length: int, kernel: int, stride: int) -> "_Window":
        """Return the window around kept pixels (n,) of an axis with `length` pixels; n may be 0."""
        low, high = (int(kept.min()), int(kept.max())) if len(kept) else (0, 0)
        half = kernel // 2
        last = min((high + half) // stride, (length - 1) // stride)
        first = min(max(-((half - low) // stride), 0), last)
        return _Window(first, last - first + 1, (last - first) * stride + kernel, kept - (first * stride - half))


def _taps(side: int, kernel: int, device: torch.device) -> Tensor:
    """Return the kernel's tap (side, side) between each output and each input of an axis without stride."""
    place = torch.arange(side, device=device)
    return place - place[:, None] + kernel // 2
