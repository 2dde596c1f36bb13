"""Draw the power of a test against its size."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fsbench.results.tables.analysis import Paint
from fsbench.results.tables.drawing import COLORS
from fsbench.results.tables.layout import multiple
from fsbench.results.tables.plan.plan import Plan
from fsbench.scores.planning import power_of, variance_scales

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def panels(plan: Plan) -> dict[str, Paint]:
    """Return the one panel that is drawn of a plan."""
    return {"power": partial(plot_power, plan=plan)}


def plot_power(axis: "Axes", plan: Plan) -> None:
    """Draw the power by the number of images, with the band of the error's own 95 % interval."""
    value, low, high = plan.times
    factors = np.geomspace(min(0.5, low / 2), max(4.0, high * 1.5), 120)
    found, effect = plan.found, plan.effect
    band = [[power_of(found, effect, k, scale) for k in factors] for scale in variance_scales(found.df / 2)]
    axis.fill_between(factors, band[1], band[0], color=COLORS[0], alpha=0.2, linewidth=0, label="95 % interval")
    axis.plot(factors, [power_of(found, effect, k) for k in factors], color=COLORS[0], label="power")
    axis.plot(
        [value], [plan.power], "o", color=COLORS[1], label=f"power {plan.power:g}: {multiple(value)} times as many"
    )
    axis.axhline(plan.power, color="#888888", linewidth=1, zorder=0)
    axis.axvline(1, color="#888888", linewidth=1, linestyle=":", label="these runs")
    axis.set_xscale("log")
    ticks = [
        tick for tick in (0.1, 0.25, 0.5, 1, 2, 4, 10, 25, 50, 100, 250, 1000) if factors[0] <= tick <= factors[-1]
    ]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("query and support images, as a multiple of those of these runs")
    axis.set_ylabel(f"chance to find a difference of {effect:g} {plan.metric}")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize="small", ncols=2)
