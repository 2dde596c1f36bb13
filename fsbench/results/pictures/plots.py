"""Plots as images, with matplotlib: curves, scatter plots."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fsbench.results.pictures.palette import QUERY_COLOR, SUPPORT_COLOR

if TYPE_CHECKING:
    from torch import Tensor

DPI = 100
LINE_COLORS = ([channel / 255 for channel in QUERY_COLOR], [channel / 255 for channel in SUPPORT_COLOR])


def curve_figure(curves: Mapping[str, "Tensor"], x_label: str, side: int) -> Figure:
    """Plot curves (points,) of values up to 1 over their position from first to last.

    Args:
        curves: Values by name.
        x_label: Label of the horizontal axis.
        side: Width and height in pixels.
    """
    figure = Figure((side / DPI, side / DPI), DPI, layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        values = curve.detach().cpu().numpy()
        axes.plot(np.linspace(0, 1, len(values)), values, label=name, color=LINE_COLORS[number % 2], linewidth=1.5)
    lowest = min([0.0, *(float(curve.min()) for curve in curves.values())])
    axes.set_ylim(lowest - 0.03 * (1 - lowest), 1 + 0.03 * (1 - lowest))
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_xlabel(x_label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", color="0.85")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="upper right")
    return figure


def scatter_figure(points: np.ndarray, labels: np.ndarray, side: int) -> Figure:
    """Plot points (n, 2): those of label 1 orange, over those of label 0 in blue.

    Args:
        points: x and y.
        labels: (n,), 0 or 1.
        side: Width and height in pixels.
    """
    figure = Figure((side / DPI, side / DPI), DPI, layout="constrained")
    axes = figure.subplots()
    for label, color in ((0, LINE_COLORS[1]), (1, LINE_COLORS[0])):
        x, y = points[labels == label].T
        axes.scatter(x, y, s=12, color=color, linewidths=0)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def rasterize(figure: Figure) -> np.ndarray:
    """Render a figure as an image (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
