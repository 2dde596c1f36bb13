"""Lay a comparison out as a sheet, and plot it as a critical-difference diagram."""

from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.errors import SettingsError
from fsbench.files import replacing
from fsbench.metrics.scores import METRICS
from fsbench.tables.compare import Comparison, ComparisonLine, scores_in
from fsbench.tables.layout import Grid, Sheet, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTIONS = {"all": "", "fold": " by fold", "size": " by object size", "class": " by class"}
PLOTS = (".png", ".svg", ".pdf")


def to_sheet(comparison: Comparison) -> Sheet:
    """Lay out a grid per table and metric, and the groups of methods that are not told apart."""
    parts = [
        (f"{metric}{CAPTIONS[kind]}", _grid(lines, kind, metric))
        for kind, metrics in comparison.tables.items()
        for metric, lines in metrics.items()
    ]
    notes = [
        f"not told apart in {metric} ({_fold(fold)}): {', '.join(group)}"
        for metric, folds in comparison.alike.items()
        for fold, groups in folds.items()
        for group in groups
    ]
    return Sheet(comparison.title, parts, [*notes, *comparison.notes])


def _grid(lines: list[ComparisonLine], kind: str, metric: str) -> Grid:
    n = METRICS[metric].digits()
    what = {"size": ["object size"], "class": ["class"]}.get(kind, [])
    grid = [["first", "second", "fold", *what, "first", "second", "difference", "p", "corrected"]]
    grid[0] += ["images"] if what else ["episodes"]
    for line in lines:
        d = line.difference
        moved = " ".join(
            f"{value:+.{n}f}" for value in (d.difference.value, d.difference.low, d.difference.high)
        ).split()
        grid.append(
            [
                d.method,
                d.other,
                line.fold,
                *([line.part] if what else []),
                *(f"{score:.{n}f}" for score in d.scores),
                f"{moved[0]} [{moved[1]}, {moved[2]}]",
                _probability(d.p),
                _probability(line.corrected) + ("*" if line.significant else " "),
                str(line.images) if what else "–" if line.needed is None else f"{line.needed:,}",
            ]
        )
    return grid


def _probability(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _fold(fold: str) -> str:
    return "mean over folds" if fold == "mean" else f"fold {fold}"


def plot(path: Path, comparison: Comparison) -> None:
    """Plot the critical-difference diagram of every fold (or their mean) and metric.

    Methods stand at their scores, with a bar over those that are not told apart. `path` ends in one of `PLOTS`; raises
    SettingsError for others, and where not all pairs were compared.
    """
    if path.suffix not in PLOTS:
        raise SettingsError(f"--plot is {path}, expected a name that ends in {', '.join(PLOTS)}")
    if not comparison.alike:
        raise SettingsError("--plot needs every two methods compared; leave --baseline out")
    # spared until it is needed
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    metrics = comparison.tables["all"]
    folds = list(dict.fromkeys(line.fold for lines in metrics.values() for line in lines))
    names = len(comparison.methods)
    wide = max(5.5, 3.5 + 0.15 * max(map(len, shortened(comparison.methods).values())))  # names stand on both sides
    figure = Figure((wide * len(metrics), (1.1 + 0.3 * names) * len(folds)), layout="constrained")
    axes = figure.subplots(len(folds), len(metrics), squeeze=False)
    for row, fold in zip(axes, folds, strict=True):
        for axis, (metric, lines) in zip(row, metrics.items(), strict=True):
            of_fold = scores_in([line for line in lines if line.fold == fold])
            _diagram(axis, of_fold, comparison.alike[metric][fold], metric, _fold(fold))
    figure.suptitle(comparison.title, fontsize="small")
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "fsbench"}):  # the same file from the same runs
        stamp = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None} if path.suffix == ".pdf" else {}
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=stamp)


def _diagram(axis: "Axes", scores: dict[str, float], groups: list[list[str]], metric: str, fold: str) -> None:
    short = shortened(scores)
    low, high = min(scores.values()), max(scores.values())
    margin = max(high - low, 0.005 * METRICS[metric].maximum) * 0.08
    edges = low - margin, high + margin
    ranked = sorted(scores, key=lambda name: scores[name])
    left = [name for name in ranked if scores[name] < (low + high) / 2]
    halves = left, ranked[::-1][: len(ranked) - len(left)]
    axis.set_xlim(*edges)
    axis.set_ylim(-max(map(len, halves)) + 0.5, 1.0 + 0.25 * len(groups))
    axis.set_title(f"{metric}, {fold}")
    for edge, half, side in zip(edges, halves, ("right", "left"), strict=True):
        for number, name in enumerate(half):  # the outermost first, so that no two lines cross
            at = scores[name]
            axis.plot([at, at, edge], [0.5, -number, -number], color="0.6", linewidth=0.8)
            axis.plot(at, 0.5, "o", color="black", markersize=4)
            axis.annotate(
                f" {short[name]}  {at:.{METRICS[metric].digits()}f} ",
                (edge, -number),
                ha=side,
                va="center",
                fontsize="small",
            )
    for number, group in enumerate(groups):
        ends = [scores[name] for name in group]
        height = 0.8 + 0.25 * number
        axis.plot(
            [min(ends) - margin / 4, max(ends) + margin / 4],
            [height, height],
            color="tab:red",
            linewidth=3,
            solid_capstyle="round",
        )
    axis.yaxis.set_visible(False)
    axis.spines[["left", "right", "top"]].set_visible(False)
