"""Lay a comparison out as a sheet or as values of JSON, and plot it as a critical-difference diagram."""

from collections.abc import Sequence
from dataclasses import fields
from math import isnan
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import SettingsError
from fsbench.protocols.reading import metric_named
from fsbench.results.comparison.compare import Asked, Comparison, SizeOfTest, size_of_test
from fsbench.results.rows.parts import PART_KINDS
from fsbench.results.rows.row import ALL, FOLD, ResultRow, fold_in_words, ranked, scores_in
from fsbench.results.sheets.cells import multiple, rounded, signed
from fsbench.results.sheets.drawing import check_plot, most_lines, save_figure, whole_names
from fsbench.results.sheets.draws import draw_tables
from fsbench.results.sheets.legend import in_units, weights_in_words
from fsbench.results.sheets.names import LEAST, shorten
from fsbench.results.sheets.trainings import BORROWED, DIFFERENCE_SIGNS, IMAGES, THESE, TRAININGS, training_mark
from fsbench.results.table import Cell, Column, Form, Sheet, Table, Value, score_cell
from fsbench.scores.decisions import indistinguishable
from fsbench.scores.estimate import Scope

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

CAPTIONS = {ALL: "", FOLD: " by fold"} | {kind: f" by {parts.head}" for kind, parts in PART_KINDS.items()}

FEW = 6
"""Number of methods up to which a short sheet has every pair."""
ROOM = 30
"""Lines of a short sheet of more methods; a fold, or part, of a score has one at least."""


def to_sheet(comparison: Comparison, every: bool = False, all_pairs: bool = True) -> Sheet:
    """Lay out a comparison of methods for printing: conclusions in words, then a table for each breakdown and metric.

    Args:
        comparison: the comparison to print.
        every: whether to add p-values before their correction, the differences that such a test can find, and all
            sentences and notes.
        all_pairs: whether to show every pair of methods if there are more than `FEW`; else the best method against the
            next ones.
    """
    tables = [rows for of_kind in comparison.tables.values() for rows in of_kind.values()]
    is_cut = not all_pairs and len(comparison.methods) > FEW and bool(comparison.alike)  # no baseline was given
    notes, draws = [*comparison.warnings, *comparison.notes], comparison.draws
    if is_cut:
        pairs, tables = sum(map(len, tables)), _with_best(tables)
        pairs_shown = {frozenset((row.method, row.minus)) for rows in tables for row in rows}
        draws = [row for row in draws if frozenset((row.method, row.minus)) in pairs_shown]
        cut = (
            f"Shown are {sum(map(len, tables))} of {pairs:,} differences: the first method against the next ones. "
            "--all shows all differences, --baseline METHOD those from one method"
        )
        notes = [cut, *(shorten([note], (400,))[note] for note in notes)]
    conclusions, asked = comparison.conclusions, comparison.asked
    signs = {"second": _differences_in_words(comparison.rows), **DIFFERENCE_SIGNS}
    if every:
        signs |= {
            "finds": "finds: the smallest true difference that such a test finds in 80 of 100 cases",
            f"{asked.effect:g}": f"for {asked.effect:g}: how many times as many images a test needs to find a true "
            f"difference of {asked.effect:g} (--effect), with a 95 % interval; more episodes of the same images do not "
            "help",
        }
    return Sheet(
        comparison.title,
        [
            *draw_tables(draws, list(comparison.tables[ALL])),
            *(_table(_told_apart_first(rows), asked, every) for rows in tables),
        ],
        [*conclusions.sentences, *(conclusions.rest if every else [])],
        notes,
        signs=signs,
        comparisons=comparison.comparisons,
        is_short=not every,
    )


def _differences_in_words(rows: Sequence[ResultRow]) -> str:
    """Say what a difference and its interval are."""
    weights = weights_in_words(row.estimate for row in rows)
    return (
        f"first − second: {in_units(dict.fromkeys(row.metric for row in rows))}, same episodes, 95 % interval for "
        f"other images of these classes{weights}"
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values: its fields, with the differences as {breakdown: {metric: list}}."""
    values = {field.name: getattr(comparison, field.name) for field in fields(comparison)}
    tables = {
        kind: {metric: [_line(row, comparison.asked) for row in rows] for metric, rows in of_kind.items()}
        for kind, of_kind in comparison.tables.items()
    }
    return {name if name != "rows" else "tables": tables if name == "rows" else value for name, value in values.items()}


def _line(row: ResultRow, asked: Asked) -> dict[str, Any]:
    return {
        "fold": row.fold,
        "part": ALL if row.part_kind == FOLD else row.part,
        "difference": {
            "method": row.method,
            "other": row.minus,
            "scores": row.scores,
            "difference": row.estimate,
        },
        "trainings": row.trainings,
        "these_trainings": row.trained and row.trained.these,
        "rough": bool(row.trained and row.trained.is_rough),
        "p_family": row.p_family,
        "corrected": row.corrected,
        "images": row.estimate.queries,
        "episodes": row.episodes_of_fold,
        "size": size_of_test(row, asked),
        "equivalent": row.is_equivalent(asked.margin),
    }


def _told_apart_first(rows: Sequence[ResultRow]) -> Sequence[ResultRow]:
    """Put the differences on parts of a test that are told apart above the others, which stay in their order."""
    return rows if rows[0].part_kind == ALL else sorted(rows, key=lambda row: not row.significant)


def _with_best(tables: Sequence[Sequence[ResultRow]]) -> list[list[ResultRow]]:
    """Keep of each fold and part of each table the differences of its best method from those that come next."""
    by_place: list[dict[tuple[str, str], list[ResultRow]]] = []
    for rows in tables:
        by_place.append({})
        for row in rows:
            by_place[-1].setdefault((row.fold, row.part), []).append(row)
    count = max(1, ROOM // sum(map(len, by_place)))
    return [[row for of_place in places.values() for row in _best_first(of_place)[:count]] for places in by_place]


def _best_first(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the differences of the best method of one fold, part and metric from each other one, best first."""
    best, *others = ranked(rows)
    first = [row if row.method == best else row.reversed() for row in rows if best in (row.method, row.minus)]
    return sorted(first, key=lambda row: others.index(row.minus))


def _caption(rows: Sequence[ResultRow]) -> str:
    """Name a table, with the fold and the number of episodes where all rows have the same."""
    folds, episodes = {row.fold for row in rows}, {row.episodes_of_fold for row in rows}
    name = f"{rows[0].metric}{CAPTIONS[rows[0].part_kind]}"
    words = [_place(name, *folds) if len(folds) == 1 else name]
    return ", ".join([*words, *(f"episodes used: {number:,} a fold" for number in episodes if len(episodes) == 1)])


def _table(rows: Sequence[ResultRow], asked: Asked, every: bool) -> Table:
    """Lay out a line per comparison; sizes of tests and margins stand beside scores in points alone.

    Args:
        rows: the rows of one kind of part and metric.
        asked: what was asked of the comparisons.
        every: show p before its correction and sizes of tests, too.
    """
    kind, name, digits = rows[0].part_kind, rows[0].metric, metric_named(rows[0].metric).digits()
    sizes = [size_of_test(row, asked) for row in rows]
    columns: list[tuple[Column, Sequence[Value]]] = [
        (Column("first", Form.NAME, room=LEAST), [row.method for row in rows]),
        (Column("second", Form.NAME, room=LEAST), [row.minus for row in rows]),
    ]
    if len({row.fold for row in rows}) > 1:
        columns.append((Column("fold", Form.FIGURES), [row.fold for row in rows]))
    if kind in PART_KINDS:
        columns.append((Column(PART_KINDS[kind].head, Form.FIGURES), [row.part for row in rows]))
    for place, which in enumerate(("first", "second")):
        score = Column(f"of {which}", Form.SCORE, f"score of {which}", f"score of {which}", metric=name, rank=2)
        columns.append((score, [row.scores[place] for row in rows]))
    covers = any(row.estimate.covers_trainings for row in rows)
    differences = [
        score_cell(row.estimate, THESE * (covers and row.is_of_these) or training_mark(row.trained)) for row in rows
    ]
    columns.append((Column("first − second", Form.DIFFERENCE, metric=name), differences))
    if covers:
        columns.append((Column(IMAGES, Form.FIGURES, rank=2), [_these_ends(row, digits) for row in rows]))
        columns.append((Column(TRAININGS, Form.FIGURES, rank=7), [row.trainings for row in rows]))
    columns += [
        (Column("p", Form.P, rank=1, usual=every), [row.estimate.p for row in rows]),
        (Column("corrected", Form.CORRECTED), [Cell(row.corrected, mark=BORROWED * row.is_borrowed) for row in rows]),
    ]
    if len({row.episodes_of_fold for row in rows}) > 1:
        columns.append((Column("episodes used", Form.COUNT, rank=5), [row.episodes_of_fold for row in rows]))
    if asked.margin is not None and metric_named(name).in_points:
        within = ["yes" if row.is_equivalent(asked.margin) else None for row in rows]
        columns.append((Column(f"within ± {asked.margin:g}", Form.FIGURES, rank=6), within))
    if any(sizes):
        finds = Column("finds", Form.NUMBER, digits=digits, rank=3, usual=every)
        larger = Column(f"for {asked.effect:g}", Form.FIGURES, rank=4, usual=every)
        columns.append((finds, [size.smallest if size else None for size in sizes]))
        columns.append((larger, [times(size) if size and not isnan(size.times) else None for size in sizes]))
    return Table.from_columns(*columns, caption=_caption(rows))


def _these_ends(row: ResultRow, digits: int) -> str | None:
    """Write the interval for these trainings alone; None if it is the only one."""
    if row.trained is None or not row.estimate.covers_trainings:
        return None
    return f"[{signed(row.trained.these.low, digits)}, {signed(row.trained.these.high, digits)}]"


def times(size: SizeOfTest) -> str:
    """Return text for how many times as many images a test needs to find a difference, with a 95 % interval."""
    low, high = multiple(size.times_low), multiple(size.times_high)
    return f"{multiple(size.times)}× ({low}–{high})"


def _place(metric: str, fold: str) -> str:
    return ", ".join(filter(None, (metric, fold_in_words(fold))))


def plot(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw the critical-difference diagram of each fold (or the mean) and metric, one test below the other.

    Methods stand at their scores, with a bar over methods that are not told apart. If no bars can show this for every
    pair of methods, a sentence that says why takes the place of the diagram.

    Raises:
        SettingsError: the ending of `path` is not that of a plot format, or not all pairs of methods were compared.
    """
    check_plot(path)
    if not all(comparison.alike for comparison in comparisons):
        raise SettingsError("--plot needs the differences of all pairs of methods; leave --baseline out")
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
    metrics = comparison.tables[ALL]
    return wide * len(metrics), (1.1 + step * len(names)) * len(_folds(comparison))


def _folds(comparison: Comparison) -> list[str]:
    """List the folds, or their mean, that whole tests are compared on."""
    return list(dict.fromkeys(row.fold for row in comparison.rows if row.part_kind == ALL))


def _draw_diagrams(part: "SubFigure", comparison: Comparison) -> None:
    metrics, folds = comparison.tables[ALL], _folds(comparison)
    axes = part.subplots(len(folds), len(metrics), squeeze=False)
    for line, fold in zip(axes, folds, strict=True):
        for axis, (metric, rows) in zip(line, metrics.items(), strict=True):
            of_fold = [row for row in rows if row.fold == fold]
            groups, why_not = bars(of_fold)
            axis.set_title(_place(metric, fold))
            if why_not:
                axis.text(0.5, 0.5, fill(why_not, 60), ha="center", va="center", transform=axis.transAxes)
                axis.set_axis_off()
            else:
                _diagram(axis, scores_in(of_fold), groups, metric)
    part.suptitle(comparison.title, fontsize="small")


def bars(rows: Sequence[ResultRow]) -> tuple[list[list[str]], str]:
    """Group methods into the bars of a diagram: two share a bar exactly if they are not told apart.

    Args:
        rows: differences of every two methods, for one fold and one metric.

    Returns:
        (groups of labels that share a bar, the best first; ""), or ([], sentence that says why no bars can show which
        methods differ).
    """
    order = ranked(rows)
    different, alike = set[frozenset[str]](), set[frozenset[str]]()
    for row in rows:
        if not row.is_tested and row.estimate.scope is not Scope.IDENTICAL:
            untested = f"{row.method} and {row.minus} could not be tested"
            return [], f"No diagram: {untested}, so it is not known whether a bar joins them."
        (different if row.significant else alike).add(frozenset((row.method, row.minus)))
    groups = indistinguishable(order, different)
    for two in sorted(alike, key=sorted):
        if not any(two <= set(group) for group in groups):
            first, second = sorted(two, key=order.index)
            return [], (
                f"No diagram: {first} and {second} are not told apart, but a method between {first} and {second} is "
                "told apart from one of them. A bar over all three would be wrong."
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
                f" {names[name]}  {rounded(at, metric)} ", (edge, -number), ha=side, va="center", fontsize="small"
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
