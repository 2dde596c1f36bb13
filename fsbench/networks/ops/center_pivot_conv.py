"""HSNet's centre-pivot 4-D convolution, on whole correlations and on those of the support pixels that a mask keeps.

Sections are those of classical-baselines.md.

Shapes: B samples, C channels in, D channels out, (hq, wq) and (hs, ws) the maps of query and support, P = hq·wq, n kept
support pixels, L blocks of the correlation.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.networks.ops.kept_correlation import KeptCorrelation
from fsbench.networks.ops.support_planes import PlaneWindows, add_over_support, from_planes, to_planes


class CenterPivotConv4d(nn.Module):
    """4-D convolution of query-support correlations by only the two centre planes of its kernel (HSNet §4.3).

    One 2-D convolution runs over the query's plane at the support positions 0, stride, 2·stride, …, the other over the
    support's plane, with that stride, at every query position; their sum is the output. The output is stored plane by
    plane (`fsbench.networks.ops.support_planes`), so that the next layer needs no copy.

    Args:
        inner: C, input channels.
        outer: D, output channels.
        kernel: side of both kernels, odd.
        stride: stride along the support's rows and columns.
    """

    def __init__(self, inner: int, outer: int, kernel: int, stride: int):
        super().__init__()
        self.stride = stride
        self.kernel = kernel
        self.conv1 = nn.Conv2d(inner, outer, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(inner, outer, kernel, stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor | KeptCorrelation | PlaneWindows) -> Tensor | PlaneWindows:
        """Convolve (B, C, hq, wq, hs, ws) to (B, D, hq, wq, ceil(hs / stride), ceil(ws / stride)).

        For an input that stores only the support pixels under a mask, the output stores a window of support positions;
        outside of the window it is the bias.
        """
        if isinstance(x, Tensor) and torch.compiler.is_exporting():
            return self.reference(x)
        if isinstance(x, KeptCorrelation):
            found = [self._convolve_kept(x, sample) for sample in range(len(x.pixels))]
            rest = [self._bias] * len(found)
            return PlaneWindows([window for window, _ in found], [corner for _, corner in found], rest, self._sides(x))
        if isinstance(x, PlaneWindows):
            outputs = [self._convolve_window(x, sample) for sample in range(len(x.windows))]
            return from_planes(outputs[0][None] if len(outputs) == 1 else torch.stack(outputs))
        planes = to_planes(x)
        batch, nothing = len(planes), planes.new_zeros(planes.shape[3])
        whole = PlaneWindows(planes.unbind(), [(0, 0)] * batch, [nothing] * batch, (x.shape[4], x.shape[5]))
        return self.forward(whole)

    @property
    def _bias(self) -> Tensor:
        """Sum (D,) of both biases."""
        assert self.conv1.bias is not None and self.conv2.bias is not None
        return self.conv1.bias + self.conv2.bias

    def _sides(self, x: KeptCorrelation | PlaneWindows) -> tuple[int, int]:
        """Return the output's support plane."""
        height, width = x.support_plane
        return -(-height // self.stride), -(-width // self.stride)

    def _over_query(self, planes: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve the query's side of planes (·, C, hq, wq)."""
        return F.conv2d(planes, self.conv1.weight, bias, padding=self.kernel // 2)

    def _convolve_window(self, x: PlaneWindows, sample: int) -> Tensor:
        """Return the output's planes (rows, columns, D, hq, wq) of one sample.

        Positions outside the window are convolved once for all: over the query as one more plane, over the support as
        one query position.
        """
        window, rest, half = x.windows[sample], x.rest[sample], self.kernel // 2
        sides = self._sides(x)
        starts = [-corner % self.stride for corner in x.corners[sample]]  # of the pivots within the window
        pivots = window[starts[0] :: self.stride, starts[1] :: self.stride]
        if not x.outside(sample):
            y = self._over_query(pivots.flatten(0, 1), self._bias)
        else:
            plane = rest.to(window.dtype)[None, :, None, None].expand(1, *window.shape[2:])
            y = self._over_query(torch.cat([pivots.flatten(0, 1), plane]), None)
            order = torch.full(sides, len(y) - 1)
            row, column = ((c + s) // self.stride for c, s in zip(x.corners[sample], starts, strict=True))
            numbers = torch.arange(len(y) - 1).view(pivots.shape[:2])
            order[row : row + numbers.shape[0], column : column + numbers.shape[1]] = numbers
            outside = F.pad(torch.zeros(window.shape[:2]), self._margins(x, sample), value=1.0).to(rest)
            seen = self._over_support(rest[:, None, None] * outside)
            y = y.index_select(0, order.flatten().to(y.device)).add_(seen.flatten(1).mT[..., None, None])
        shift = (-half - x.corners[sample][0], -half - x.corners[sample][1])
        y = add_over_support(y, window, self.conv2.weight, self.stride, shift, sides)
        return y.unflatten(0, sides)

    def _over_support(self, plane: Tensor) -> Tensor:
        """Convolve the support's plane (C, hs, ws) of one query position, in float32 at least, under autocast too.

        On a CPU, the weight gradient of a strided bfloat16 convolution is uninitialised memory at the taps that meet
        only padding. A plane smaller than the kernel has such taps.
        """
        wide = torch.promote_types(plane.dtype, torch.float32)
        with torch.autocast(plane.device.type, enabled=False):
            plane, weight, bias = (t.to(wide) for t in (plane, self.conv2.weight, self._bias))
            return F.conv2d(plane[None], weight, bias, stride=self.stride, padding=self.kernel // 2)[0]

    def _margins(self, x: PlaneWindows, sample: int) -> list[int]:
        """Return the support positions left of, right of, above and below the sample's window."""
        (row, column), (height, width) = x.corners[sample], x.support_plane
        rows, columns = x.windows[sample].shape[:2]
        return [column, width - column - columns, row, height - row - rows]

    def _convolve_kept(self, x: KeptCorrelation, sample: int) -> tuple[Tensor, tuple[int, int]]:
        """Return the output's window (rows, columns, D, hq, wq) of one sample, and its corner."""
        row, column = x.pixels[sample] // x.support_plane[1], x.pixels[sample] % x.support_plane[1]
        down = _Window.around(row, x.support_plane[0], self.kernel, self.stride)
        right = _Window.around(column, x.support_plane[1], self.kernel, self.stride)
        half = self.kernel // 2
        canvas = self._canvas(x, sample, down, right)
        pivots = canvas[half :: self.stride, half :: self.stride][: down.outputs, : right.outputs]
        y = self._over_query(pivots.flatten(0, 1), self._bias)
        y = add_over_support(y, canvas, self.conv2.weight, self.stride, (0, 0), (down.outputs, right.outputs))
        return y.unflatten(0, (down.outputs, right.outputs)), (down.first, right.first)

    def _canvas(self, x: KeptCorrelation, sample: int, down: "_Window", right: "_Window") -> Tensor:
        """Return the cosines (rows, columns, L, hq, wq) that the outputs of a window see, the padding included."""
        canvas = x.query.new_zeros(down.side * right.side, x.query.shape[1], x.query.shape[3])
        seen = down.inside() & right.inside()
        cosines, places = x.cosines(sample), down.places * right.side + right.places
        if not seen.all():
            cosines, places = cosines[seen], places[seen]
        return canvas.index_copy_(0, places, cosines).view(down.side, right.side, -1, *x.query_plane)

    def reference(self, x: Tensor) -> Tensor:
        """Compute the convolution of `forward` by its definition, 2-D convolutions on batches of planes, for tests."""
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
        places: (n,) place of each kept pixel among the inputs; outside of them where no output sees it.
    """

    first: int
    outputs: int
    side: int
    places: Tensor

    def inside(self) -> Tensor:
        """Return whether each kept pixel is among the inputs, (n,) bool."""
        return (self.places >= 0) & (self.places < self.side)

    @staticmethod
    def around(kept: Tensor, length: int, kernel: int, stride: int) -> "_Window":
        """Return the window around kept pixels (n,) of an axis with `length` pixels; n may be 0."""
        low, high = (int(kept.min()), int(kept.max())) if len(kept) else (0, 0)
        half = kernel // 2
        last = min((high + half) // stride, (length - 1) // stride)
        first = min(max(-((half - low) // stride), 0), last)
        return _Window(first, last - first + 1, (last - first) * stride + kernel, kept - (first * stride - half))
