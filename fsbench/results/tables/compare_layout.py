"""Lay a comparison out as a sheet, and plot it as a critical-difference diagram."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from fsbench.base.errors import SettingsError
from fsbench.protocols.reading import metric_named
from fsbench.results.tables.compare import (
    Asked,
    Comparison,
    ComparisonLine,
    SizeOfTest,
    differences_in_words,
    scores_in,
    size_note,
)
from fsbench.results.tables.drawing import check_plot, most_lines, save_figure, whole_names
from fsbench.results.tables.layout import (
    MISSING,
    Grid,
    Sheet,
    corrected_p,
    family_note,
    moved,
    multiple,
    probability,
    scope_notes,
    shorten,
)
from fsbench.scores.decisions import indistinguishable
from fsbench.scores.estimate import Scope

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

CAPTIONS = {"all": "", "fold": " by fold", "size": " by object size", "class": " by class"}
LEAST = 12
"""Characters that are left for a method's name, whatever the width."""

_ON_REQUEST = ("p", "finds", "times")
"""Columns that are shown where everything is asked for."""
_DISPENSABLE = ("p", "scores", "finds", "times", "episodes", "within")
"""Columns to leave out, one more where there is no room for names after those before."""


def to_sheet(comparison: Comparison, width: int | None = None, every: bool = False) -> Sheet:
    """Lay out a grid per table and metric below what follows from them in words.

    Args:
        comparison: what is shown.
        width: characters that tables may take as text; names are shortened and columns left out until they do.
        every: show p before its correction, what tests of this size can find, and all notes, too.
    """
    names = {label: label for label in comparison.methods}
    tables = [(kind, metric, lines) for kind, of_kind in comparison.tables.items() for metric, lines in of_kind.items()]
    unasked = () if every else _ON_REQUEST
    fitting = [_fitting(*table, list(names), comparison.asked, width, unasked) for table in tables]
    if width is not None:
        names = shorten(names, (max(min((room for _, room in fitting), default=LEAST), LEAST),))
    parts = [
        (_caption(lines, kind, metric), _grid(lines, kind, metric, names, comparison.asked, left_out))
        for (kind, metric, lines), (left_out, _) in zip(tables, fitting, strict=True)
    ]
    asked = comparison.asked
    lacking = {column for left_out, _ in fitting for column in left_out if column not in unasked}
    margin = "" if asked.margin is None else f"within ± {asked.margin:g}"
    heads = {"times": f"for {asked.effect:g}", "episodes": "episodes used", "within": margin}
    words = [heads.get(column, column) for column in _DISPENSABLE if column in lacking]
    notes = [*comparison.warnings, *[f"no room for {', '.join(words)}: a wider terminal shows more"] * bool(words)]
    whole = [left_out for (kind, _, _), (left_out, _) in zip(tables, fitting, strict=True) if kind in ("all", "fold")]
    has_sizes = any(not {"finds", "times"} <= set(left_out) for left_out in whole)
    every_line = [line for *_, lines in tables for line in lines]
    legend = [
        differences_in_words(comparison.tables),
        *([family_note(comparison.comparisons)] if any(line.significant for line in every_line) else []),
        *scope_notes(line.difference.difference for line in every_line),
        *([size_note(asked)] if every and has_sizes and any(line.size for line in every_line) else []),
    ]
    return Sheet(
        comparison.title,
        parts,
        [*notes, *comparison.notes],
        lead=comparison.verdicts or groups_in_words(comparison),
        legend=["; ".join(legend)],
        is_short=not every,
    )


def groups_in_words(comparison: Comparison) -> list[str]:
    """Say which methods are not told apart, in a sentence for each group of a metric and fold."""
    return [
        f"{metric}, {_fold(fold)}: {', '.join(group)} are not told apart"
        for metric, folds in comparison.alike.items()
        for fold, groups in folds.items()
        for group in groups
    ]


def _fitting(
    kind: str,
    metric: str,
    lines: list[ComparisonLine],
    names: Sequence[str],
    asked: Asked,
    width: int | None,
    unasked: Collection[str] = (),
) -> tuple[Sequence[str], int]:
    """Return the columns of a table to leave out, those that are `unasked` first, and the room for each name then."""
    if width is None:
        return list(unasked), 0

    def room_without(columns: Collection[str]) -> int:
        return (width - _width(_grid(lines, kind, metric, dict.fromkeys(names, ""), asked, columns))) // 2

    left_out = list(unasked)
    room = room_without(left_out)
    for column in (column for column in _DISPENSABLE if column not in unasked):
        if room >= min(LEAST, max(map(len, ["second", *names]))):
            break
        if (more := room_without([*left_out, column])) > room:  # the table has such a column
            left_out.append(column)
            room = more
    return left_out, room


def _width(grid: Grid) -> int:
    """Return the width as text of a grid whose first two columns are empty but for their heads."""
    columns = list(zip(*grid, strict=True))[2:]
    return sum(max(map(len, column)) + 2 for column in columns) + 2


def _caption(lines: list[ComparisonLine], kind: str, metric: str) -> str:
    """Name a table, with the fold and the number of episodes where all lines have the same."""
    folds, episodes = {line.fold for line in lines}, {line.episodes for line in lines}
    words = [f"{metric}{CAPTIONS[kind]}", *map(_fold, folds if len(folds) == 1 else ())]
    return ", ".join([*words, *(f"episodes used: {number:,} a fold" for number in episodes if len(episodes) == 1)])


def _grid(
    lines: list[ComparisonLine],
    kind: str,
    metric: str,
    names: Mapping[str, str],
    asked: Asked,
    left_out: Collection[str] = (),
) -> Grid:
    """Lay out a line per comparison; sizes of tests and margins stand beside scores in points alone.

    Args:
        lines: of one table.
        kind: of the table, as in `Comparison.tables`.
        metric: compared score.
        names: label of a method -> its name in the table.
        asked: what was asked of the comparisons.
        left_out: columns that are not wanted: "p" before its correction, "scores" of the two methods, what the test
            "finds", how many "times" larger a test finds the wanted difference, the number of "episodes", and whether
            the methods are equivalent "within" the margin.
    """
    n, in_points = metric_named(metric).digits(), metric_named(metric).in_points
    part = {"size": "object size", "class": "class"}.get(kind, "")
    columns = {
        "first": [names[x.difference.method] for x in lines],
        "second": [names[x.difference.other] for x in lines],
    }
    if len({line.fold for line in lines}) > 1:
        columns["fold"] = [line.fold for line in lines]
    if part:
        columns[part] = [line.part for line in lines]
    if "scores" not in left_out:
        columns["first "] = [f"{line.difference.scores[0]:.{n}f}" for line in lines]
        columns["second "] = [f"{line.difference.scores[1]:.{n}f}" for line in lines]
    columns["first − second"] = [moved(line.difference.difference, n) for line in lines]
    if "p" not in left_out:
        columns["p"] = [probability(line.p) for line in lines]
    columns["corrected"] = [corrected_p(line.corrected) for line in lines]
    if len({line.episodes for line in lines}) > 1 and "episodes" not in left_out:
        columns["episodes used"] = [f"{line.episodes:,}" for line in lines]
    if asked.margin is not None and in_points and "within" not in left_out:
        columns[f"within ± {asked.margin:g}"] = ["yes" if line.equivalent else MISSING for line in lines]
    if not part and in_points and "finds" not in left_out:
        columns["finds"] = [MISSING if line.size is None else f"{line.size.smallest:.{n}f}" for line in lines]
    if not part and in_points and "times" not in left_out:
        columns[f"for {asked.effect:g}"] = [MISSING if line.size is None else times(line.size) for line in lines]
    return [[head.strip() for head in columns], *map(list, zip(*columns.values(), strict=True))]


def times(size: SizeOfTest) -> str:
    """Write how many times as many images a test needs, and the 95 % interval of that number."""
    low, high = multiple(size.times_low), multiple(size.times_high)
    return f"{multiple(size.times)}× ({low}–{high})"


def _fold(fold: str) -> str:
    return "mean over folds" if fold == "mean" else f"fold {fold}"


def plot(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Plot the critical-difference diagram of every fold (or their mean) and metric, of each test below the other.

    Methods stand at their scores, with a bar over those that are not told apart; where bars cannot say that of every
    pair (`bars`), the reason stands in place of the diagram. Raises SettingsError where `path` has another ending than
    a figure, and where not all pairs were compared.
    """
    check_plot(path)
    if not all(comparison.alike for comparison in comparisons):
        raise SettingsError("--plot needs every two methods compared; leave --baseline out")
    from matplotlib.figure import Figure  # slow to import

    sizes = [_figure_size(comparison) for comparison in comparisons]
    figure = Figure((max(width for width, _ in sizes), sum(height for _, height in sizes)), layout="constrained")
    parts = figure.subfigures(len(comparisons), 1, squeeze=False, height_ratios=[height for _, height in sizes])
    for part, comparison in zip(parts.flat, comparisons, strict=True):
        _draw_diagrams(part, comparison)
    save_figure(path, figure)


def _figure_size(comparison: Comparison) -> tuple[float, float]:
    """Return the width and height in inches of the diagrams of a test."""
    names = whole_names(comparison.methods)
    wide = max(5.5, 3.5 + 0.15 * max(len(line) for name in names.values() for line in name.splitlines()))  # both sides
    step = 0.12 + 0.18 * most_lines(comparison.methods)
    metrics = comparison.tables["all"]
    folds = {line.fold for lines in metrics.values() for line in lines}
    return wide * len(metrics), (1.1 + step * len(names)) * len(folds)


def _draw_diagrams(part: "SubFigure", comparison: Comparison) -> None:
    metrics = comparison.tables["all"]
    folds = list(dict.fromkeys(line.fold for lines in metrics.values() for line in lines))
    axes = part.subplots(len(folds), len(metrics), squeeze=False)
    for row, fold in zip(axes, folds, strict=True):
        for axis, (metric, lines) in zip(row, metrics.items(), strict=True):
            of_fold = [line for line in lines if line.fold == fold]
            groups, why_not = bars(of_fold, metric)
            axis.set_title(f"{metric}, {_fold(fold)}")
            if why_not:
                axis.text(0.5, 0.5, fill(why_not, 60), ha="center", va="center", transform=axis.transAxes)
                axis.set_axis_off()
            else:
                _diagram(axis, scores_in(of_fold), groups, metric)
    part.suptitle(comparison.title, fontsize="small")


def bars(lines: Sequence[ComparisonLine], metric: str) -> tuple[list[list[str]], str]:
    """Group methods for the bars of a diagram, so that two share a bar exactly where they are not told apart.

    Args:
        lines: of one fold and metric, every two methods; whatever cards they have.
        metric: by which the methods stand in order.

    Returns:
        The groups, best first; and where no bars can say it, in a sentence why, else "".
    """
    scores = scores_in(lines)
    ranked = sorted(scores, key=lambda label: scores[label], reverse=metric_named(metric).higher_is_better)
    different, alike = set[frozenset[str]](), set[frozenset[str]]()
    for line in lines:
        pair = line.difference
        if not line.is_tested and pair.difference.scope is not Scope.IDENTICAL:
            untested = f"{pair.method} and {pair.other} could not be tested"
            return [], f"No diagram: {untested}, so no bar can say what they are."
        (different if line.significant else alike).add(frozenset((pair.method, pair.other)))
    groups = indistinguishable(ranked, different)
    for two in sorted(alike, key=sorted):
        if not any(two <= set(group) for group in groups):
            first, second = sorted(two, key=ranked.index)
            return [], (
                f"No diagram: {first} and {second} are not told apart, and a method between them is told apart from "
                "one of the two, so that a bar would say more than the table."
            )
    return groups, ""


def _diagram(axis: "Axes", scores: dict[str, float], groups: list[list[str]], metric: str) -> None:
    names = whole_names(scores)
    low, high = min(scores.values()), max(scores.values())
    margin = max(high - low, 0.005 * metric_named(metric).maximum) * 0.08
    edges = low - margin, high + margin
    ranked = sorted(scores, key=lambda name: scores[name])
    left = [name for name in ranked if scores[name] < (low + high) / 2]
    halves = left, ranked[::-1][: len(ranked) - len(left)]
    axis.set_xlim(*edges)
    axis.set_ylim(-max(map(len, halves)) + 0.5, 1.0 + 0.25 * len(groups))
    for edge, half, side in zip(edges, halves, ("right", "left"), strict=True):
        for number, name in enumerate(half):  # the outermost first, so that no two lines cross
            at = scores[name]
            axis.plot([at, at, edge], [0.5, -number, -number], color="0.6", linewidth=0.8)
            axis.plot(at, 0.5, "o", color="black", markersize=4)
            axis.annotate(
                f" {names[name]}  {at:.{metric_named(metric).digits()}f} ",
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
