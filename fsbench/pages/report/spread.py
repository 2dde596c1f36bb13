"""Say of a plot that would show nothing why it is left out: one point, one epoch, or the same value everywhere."""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from fsbench.pages.report.collect import Study, shown_fold
from fsbench.pages.report.costs import TIMED, RunCost
from fsbench.pages.report.curves import Curve
from fsbench.results.costs import PLOTTED
from fsbench.results.rows.parts import SIZES
from fsbench.results.rows.row import SIZE, scores_of
from fsbench.scores.estimate import FEW_QUERIES, Estimate, Scope

FEWEST_PLOTTED = 3
"""Number of methods from which a plot against a cost shows more than its table."""


def cost_plot_gap(costs: Sequence[RunCost], kind: str, metric: str, methods: int, episodes: int) -> str:
    """Return a sentence that says why a plot of score against a cost is left out; "" if it can be drawn.

    Args:
        costs: score and costs of each method that has the score.
        kind: the cost: "trainable", "total", "seconds" or "memory".
        metric: name of the score.
        methods: number of all methods, with or without the score.
        episodes: smallest number of episodes of a run.
    """
    name = PLOTTED[kind].name
    known = [(cost.values[kind], cost) for cost in costs if cost.values.get(kind) is not None]
    every = "all methods have" if len(known) == methods else f"the {len(known)} methods with both figures have"
    if not costs:
        return f"No plots: no method has {metric}."
    if not known:
        return f"No plot against {name}: the runs do not state {name}."
    if kind == "seconds" and episodes < TIMED:
        return (
            f"No plot against {name}: the time of {episodes} episodes is mostly the time of starting; expected {TIMED} "
            "episodes or more."
        )
    if len(costs) == 1:
        reason = "there is only one method" if methods == 1 else f"only {costs[0].method} has {metric}"
        return f"No plots: {reason}. The figures are in the table below."
    if len(known) == 1:
        return f"No plot against {name}: only {known[0][1].method} states {name}."
    if _all_equal(value for value, _ in known):
        return f"No plot against {name}: {every} {known[0][0] or 0.0:,.6g}."
    if _all_equal(end for _, cost in known for end in (cost.score.value, cost.score.low, cost.score.high)):
        return f"No plot against {name}: {every} the same score."
    if len(known) < FEWEST_PLOTTED:
        who = "of two methods" if len(costs) == len(known) else f"against {name}, which only two methods state"
        return f"No plots {who}: the table below says as much."
    return ""


SizeScores = Mapping[str, Mapping[str, Estimate]]
"""Method -> object size -> score with an interval; nothing of methods that have no object sizes."""


def size_scores(study: Study, metric: str) -> SizeScores:
    """Return {method: {range of object sizes: score}} on the fold that plots show, the best method first.

    A score of too few images is left out. A score without an interval is kept if it is 0 on every image.
    """
    lines, fold = study.block.parts(SIZE), shown_fold(study.block)
    return {
        label: {
            name: score
            for name in SIZES
            if (score := scores_of(lines[label, fold].get(name, ())).get(metric))
            and (score.has_interval or _is_zero(score))
        }
        for label in study.methods
        if (label, fold) in lines
    }


def _is_zero(score: Estimate) -> bool:
    return score.scope is Scope.IDENTICAL and score.queries >= FEW_QUERIES


def size_plot_gap(sizes: SizeScores) -> str:
    """Return a sentence that says why the plot of scores by object size is left out; "" if it can be drawn."""
    scores = {name: [of_method[name] for of_method in sizes.values() if name in of_method] for name in SIZES}
    if not any(scores.values()) and sizes:
        return "No plot: no object size has enough images for an interval."
    bins = [name for name, of_bin in scores.items() if of_bin]
    if not bins:
        return "No plot: these runs have no scores by object size."
    if len(bins) == 1:
        return f"No plot: only objects of {bins[0]} % of their image have enough images."
    if _all_equal(
        end for of_size in scores.values() for score in of_size for end in (score.value, score.low, score.high)
    ):
        return "No plot: the score is the same for every method and size."
    return ""


def curve_plot_gap(curves: Sequence[Curve]) -> str:
    """Return a sentence that says why the plot of learning curves is left out; "" if it can be drawn."""
    if not curves:
        return "No plot: no run has a learning curve beside its record (nothing was trained, or the curve was removed)."
    if max(len(curve.epochs) for curve in curves) < 2:
        scores = ", ".join(f"{curve.method}, fold {curve.fold}: {curve.values[0]:.2f}" for curve in curves[:8])
        more = f" and {len(curves) - 8} more" if len(curves) > 8 else ""
        return f"No plot: a curve needs two validations, and each run has one ({scores}{more})."
    if _all_equal(value for curve in curves for value in curve.values):
        return f"No plot: validation mIoU is {curves[0].values[0]:.2f} throughout."
    return ""


def _all_equal(values: Iterable[float | None]) -> bool:
    """Return True if all values are equal but for the order of a sum; NaN, which stands for none, is passed over."""
    return len({round(value or 0.0, 9) for value in values if value is None or not isnan(value)}) < 2
