"""A score without an interval is seen as one in the figure of curves."""

from math import nan

import pytest
from matplotlib.figure import Figure

from fsbench.results.rows.row import ResultRow
from fsbench.results.studies.sweep.curves import Curve, CurvePoint, CurveTable
from fsbench.results.studies.sweep.plot import CROSSED, plot_panel
from fsbench.scores.estimate import Estimate


def table(*ends):
    """A curve of `objects` with a score of 50 at each number, and these ends of its intervals."""
    scores = [ResultRow("t", "prototype", "0", "mIoU", Estimate(50.0, low, high)) for low, high in ends]
    points = [CurvePoint(number, {"mIoU": score}, ()) for number, score in enumerate(scores, 1)]
    return CurveTable("t", ("mIoU",), [], [], "objects", [Curve("prototype", points)])


@pytest.mark.parametrize(
    ("ends", "crossed"),
    [([(40, 60), (45, 55)], []), ([(40, 60), (50, 50)], [2]), ([(nan, nan), (40, 60), (nan, nan)], [1, 3])],
)
def test_points_without_an_interval_are_crossed_out(ends, crossed):
    axis = Figure().subplots()
    plot_panel(axis, table(*ends), "mIoU")
    marks = [line for line in axis.lines if line.get_label() == CROSSED]
    assert [round(x) for line in marks for x in line.get_xdata()] == crossed
    assert (CROSSED in [text.get_text() for text in axis.get_legend().get_texts()]) == bool(crossed)
