"""The short table: a row for each method, its folds side by side as papers print them, their mean, its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from fsbench.protocols.reading import metric_named
from fsbench.results.tables.below_trivial import TRIVIAL
from fsbench.results.tables.blocks import Block, Row
from fsbench.results.tables.layout import MISSING, Grid, Style, ends, places, shorten
from fsbench.scores.estimate import Estimate

INTERVAL = "95 % interval"
COMFORTABLE, LEAST = 24, 12
"""Characters for the names of methods: columns are left out for the first, and never for more than the second."""

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class _Column:
    """A column of the short table.

    Attributes:
        head: its name.
        cells: a figure for each method, as it is printed.
        scores: what they stand for, for the best of them; empty where there is no best.
        metric: of the figures.
        rank: columns are left out in the order of their ranks where the width does not do for all; 0 stays.
        intervals: scores whose intervals the cells are.
    """

    head: str
    cells: list[str]
    scores: list[Estimate | None]
    metric: str
    rank: int
    intervals: Sequence[Estimate] = ()

    @property
    def width(self) -> int:
        return max(map(len, [self.head, *self.cells]))


def summary(block: Block, width: int | None = None) -> tuple[Grid, Style, list[str], list[Estimate]]:
    """Lay out a row for each method of a block.

    The first metric is shown by fold, with the mean and its interval where all folds are there; of the other metrics
    the mean, or the score of the only fold.

    Args:
        block: the rows.
        width: characters that the text may take; names are shortened and columns left out until it does. None: all.

    Returns:
        The grid, its style with the best figure of each column, what is to be said below (what is left out, and the
        answers that need no model), and the scores whose intervals are shown.
    """
    methods = list(dict.fromkeys(row.method for row in block.rows if row.method not in TRIVIAL))
    of_method = {name: {row.fold: row for row in block.rows if row.method == name} for name in methods}
    columns = _columns(block, list(of_method.values()))
    marks = block.marks
    longest = max((len(mark) for mark in marks.values()), default=0)
    labels = {name: name for name in methods}
    shown, lines = columns, []
    if width is not None and methods:
        shown, room = _fitting(columns, width, max(map(len, ["method", *methods])) + longest)
        labels = shorten(methods, (room - longest,))
        lines = [
            f"{number}: {name}" for number, name in enumerate(methods, 1) if labels[name].startswith(f"{number}: ")
        ]
        left_out = [column.head for column in columns if column not in shown]
        lines += [f"left out for want of width: {', '.join(left_out)}; a wider terminal shows them"] if left_out else []
    grid = [["method", *(column.head for column in shown)]]
    grid += [
        [labels[name] + marks.get(name, ""), *(column.cells[i] for column in shown)] for i, name in enumerate(methods)
    ]
    bold = {
        (i + 1, j + 1)
        for j, column in enumerate(shown)
        if column.scores
        for i, place in enumerate(places(column.cells, column.scores, block.ranked_among(methods), column.metric))
        if place == "best"
    }
    folds = method_folds(block)
    if not _whole(block, folds):
        lines.append(
            f"{len(folds)} of {block.folds} folds: no mean, which needs all; intervals and other scores of each fold: "
            "--by fold"
        )
    lines = [*_without_model(block, folds), *lines, *card_notes(block)]
    intervals = [score for column in shown for score in column.intervals]
    return grid, Style(words=1, bold=frozenset(bold)), lines, intervals


def method_folds(block: Block) -> list[str]:
    """List the folds that methods have, in order."""
    folds = {row.fold for row in block.rows if row.method not in TRIVIAL and row.fold != "mean"}
    return sorted(folds, key=lambda fold: (len(fold), fold))


def _columns(block: Block, methods: Sequence[dict[str, Row]]) -> list[_Column]:
    """Build all columns for the rows, by fold, of each method."""
    main, *others = block.metrics
    folds = method_folds(block)
    has_mean = any("mean" in rows for rows in methods)
    whole = "mean" if has_mean else folds[0] if len(folds) == 1 else ""

    def column(head: str, metric: str, fold: str, rank: int) -> _Column:
        scores = [rows[fold].scores.get(metric) if fold in rows else None for rows in methods]
        digits = metric_named(metric).digits()
        cells = [MISSING if score is None else f"{score.value:.{digits}f}" for score in scores]
        return _Column(head, cells, scores, metric, rank)

    columns = []
    for number, fold in enumerate(folds):
        label = fold_label(block, fold)
        head = " ".join(filter(None, (main, label))) if number == 0 else label
        columns.append(column(head, main, fold, len(others) + 2 if has_mean else 0))
    if has_mean:
        columns.append(column("mean", main, "mean", 0))
    if whole:
        columns.append(_intervals([rows[whole].scores.get(main) if whole in rows else None for rows in methods], main))
        columns += [column(metric, metric, whole, len(others) + 1 - number) for number, metric in enumerate(others)]
    return columns


def fold_label(block: Block, fold: str) -> str:
    """Name a fold as papers do, by its number of classes and its number: 5⁰; empty where there are no folds."""
    if fold == "all" or block.folds == 1:
        return ""
    return f"{block.classes[fold]}{fold.translate(_SUPERSCRIPTS)}" if fold in block.classes else f"fold {fold}"


def _intervals(scores: Sequence[Estimate | None], metric: str) -> _Column:
    n = metric_named(metric).digits()
    cells = [(ends(score, n) if score is not None else "") or MISSING for score in scores]
    return _Column(INTERVAL, cells, [], metric, 1, [score for score in scores if score is not None])


def _fitting(columns: list[_Column], width: int, longest: int) -> tuple[list[_Column], int]:
    """Return the columns that fit, and the characters left for names, of which the longest has `longest`."""
    for enough in (min(longest, COMFORTABLE), min(longest, LEAST)):
        for rank in range(max(column.rank for column in columns) + 1):
            shown = [column for column in columns if column.rank == 0 or column.rank > rank]
            room = width - sum(column.width + 2 for column in shown)
            if room >= enough:
                return shown, room
    return shown, max(room, LEAST)


def card_notes(block: Block) -> list[str]:
    """Say what the signs stand for: the entries in which cards differ, and that their rows are not ranked together."""
    of_mark = {sign: block.cards[name].conditions for name, sign in block.signs.items() if sign}
    if not of_mark:
        return []
    differing = [name for name in next(iter(of_mark.values())) if len({card[name] for card in of_mark.values()}) > 1]
    cards = [
        f"{mark.strip()} {', '.join(f'{name} {card[name]}' for name in differing)}" for mark, card in of_mark.items()
    ]
    ranked = "yet rows of all marks are" if block.rank_all else "so rows of different marks are not"
    return [f"cards differ, {ranked} ranked together{' (--rank-all)' * block.rank_all}: {'; '.join(cards)}"]


def _without_model(block: Block, folds: Sequence[str]) -> list[str]:
    """Say in one line how far the best answer without a model comes in each metric that is shown.

    Args:
        block: the rows, those of the answers included.
        folds: that methods have; of several without a mean, the first metric of each is given.
    """
    answers: dict[str, dict[str, Row]] = {}
    for row in block.rows:
        if row.method in TRIVIAL:
            answers.setdefault(row.method, {})[row.fold] = row
    words = []
    for metric in block.metrics if _whole(block, folds) else block.metrics[:1]:
        sign, n = metric_named(metric).sign, metric_named(metric).digits()
        scores = {
            name: [rows[fold].scores[metric].value for fold in folds]
            for name, rows in answers.items()
            if all(fold in rows and metric in rows[fold].scores for fold in folds)
        }
        if scores:
            best = max(scores, key=lambda name: sign * sum(scores[name]))
            means = [sum(scores[best]) / len(folds)] if _whole(block, folds) else scores[best]
            words.append(f"{metric} {', '.join(f'{mean:.{n}f}' for mean in means)} {best}")
    return [f"best answers without a model: {'; '.join(words)}"] if words else []


def _whole(block: Block, folds: Sequence[str]) -> bool:
    """Return True if one score stands for a method: it has one fold, or a mean over all."""
    return len(folds) in (1, block.folds)
