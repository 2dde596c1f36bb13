"""The short table: a row for each method, its folds side by side as papers print them, their mean, its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fsbench.protocols.reading import metric_named
from fsbench.results.conclusions import conditions_in_words
from fsbench.results.rows.row import ALL, MEAN
from fsbench.results.sheets.cells import MISSING, ends, rounded
from fsbench.results.sheets.cells import places as places_of
from fsbench.results.sheets.layout import Grid, Style
from fsbench.results.sheets.names import COMFORTABLE, LEAST, shorten
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.trivial import NOT_ABOVE, best_without_model, mark_of
from fsbench.scores.estimate import Estimate

INTERVAL = "95 % interval"
NO_ROOM = "no room for"
"""Begin of the line that names columns that are left out."""
BEST = "(best without a model)"
"""Label of the line of the best answers that need no model."""

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
        best: the figure of the best answer without a model; "" where there is none.
        marks: for each method, the mark of a score that is not shown to be above that; "" of others.
        intervals: scores whose intervals the cells are.
    """

    head: str
    cells: list[str]
    scores: list[Estimate | None]
    metric: str
    rank: int
    best: str = ""
    marks: Sequence[str] = ()
    intervals: Sequence[Estimate] = ()

    @property
    def marked(self) -> list[str]:
        """The cells as they are printed, with their marks; then the best answer."""
        marks = self.marks or [""] * len(self.cells)
        return aligned([*(cell + mark for cell, mark in zip(self.cells, marks, strict=True)), self.best])

    @property
    def width(self) -> int:
        return max(map(len, [self.head, *self.marked]))


def aligned(cells: Sequence[str]) -> list[str]:
    """Leave room for a mark in every cell of a column where some have one, so that digits stand below each other."""
    if not any(cell.endswith(NOT_ABOVE) for cell in cells):
        return list(cells)
    return [cell if cell.endswith(NOT_ABOVE) else f"{cell} " for cell in cells]


def summary(block: Block, width: int | None = None) -> tuple[Grid, Style, list[str], list[Estimate]]:
    """Lay out a row for each method of a block.

    The first metric is shown by fold, with the mean and its interval where all folds are there; of the other metrics
    the mean, or the score of the only fold.

    Args:
        block: the rows.
        width: characters that the text may take; names are shortened and columns left out until it does. None: all.

    Returns:
        The grid, its style with the best figure of each column, what is to be said below of what is left out, and the
        scores whose intervals are shown.
    """
    methods = list(dict.fromkeys(method for method, _ in block.method_lines))
    columns = _columns(block, methods)
    marks = block.marks
    has_best = any(column.best for column in columns)
    longest = max((len(mark) for mark in marks.values()), default=0)
    labels = {name: name for name in methods}
    shown, lines = columns, []
    if width is not None and methods:
        names = max(map(len, ["method", *methods])) + longest
        places, room = _fitting(columns, width, max(names, len(BEST) * has_best))
        shown = _headed([columns[i] for i in places])
        labels = shorten(methods, (room - longest,))
        lines = [
            f"{number}: {name}" for number, name in enumerate(methods, 1) if labels[name].startswith(f"{number}: ")
        ]
        left_out = [column.head for i, column in enumerate(columns) if i not in places]
        lines += [f"{NO_ROOM} {', '.join(left_out)}: a wider terminal shows more"] if left_out else []
    cells = [column.marked for column in shown]
    grid = [["method", *(column.head for column in shown)]]
    grid += [[labels[name] + marks.get(name, ""), *(column[i] for column in cells)] for i, name in enumerate(methods)]
    grid += [[BEST, *(column[-1] for column in cells)]] if has_best else []
    bold = {
        (i + 1, j + 1)
        for j, column in enumerate(shown)
        if column.scores
        for i, place in enumerate(places_of(column.cells, column.scores, block.ranked_among(methods), column.metric))
        if place == "best"
    }
    folds = method_folds(block)
    if not _whole(block, folds):
        lines.append(
            f"{len(folds)} of {block.folds} folds are there, so there is no mean; --by fold shows the intervals and "
            "other scores of each fold"
        )
    intervals = [score for column in shown for score in column.intervals]
    return grid, Style(words=1, bold=frozenset(bold)), lines, intervals


def symbols_in_words(block: Block, grids: Sequence[Grid]) -> list[str]:
    """Explain what stands in the grids of a block: labels of folds, and the mark of scores that show nothing."""
    cells = [cell for grid in grids for line in grid for cell in line]
    folds = [fold for fold in method_folds(block) if any(label_in(cell, fold_label(block, fold)) for cell in cells)]
    words = folds_in_words(block, folds)
    if any(cell.endswith(NOT_ABOVE) for cell in cells):
        own = " on images of its method's size" * any(block.sides.values())
        words.append(f"{NOT_ABOVE} marks a score that is not shown to be above the best answer without a model{own}")
    return words


def folds_in_words(block: Block, folds: Sequence[str]) -> list[str]:
    """Say what heads of columns such as 5⁰ mean; nothing of folds whose heads say it themselves."""
    named = [fold for fold in folds if fold in block.classes and fold_label(block, fold)]
    numbers = {block.classes[fold] for fold in named}
    if len(named) > 1 and len(numbers) == 1:
        heads = ", ".join(fold_label(block, fold) for fold in named)
        return [f"{heads} are folds {', '.join(named)}, with {numbers.pop()} classes each"]
    parts = [f"{fold_label(block, fold)} is fold {fold}, with {block.classes[fold]} classes" for fold in named]
    return ["; ".join(parts)] if parts else []


def label_in(cell: str, label: str) -> bool:
    """Return whether a head of a column ends with the label of a fold, such as mIoU 5⁰."""
    return bool(label) and cell.split(" ")[-1] == label


def method_folds(block: Block) -> list[str]:
    """List the folds that methods have, in order."""
    folds = {fold for _, fold in block.method_lines if fold != MEAN}
    return sorted(folds, key=lambda fold: (len(fold), fold))


def _columns(block: Block, methods: Sequence[str]) -> list[_Column]:
    """Build all columns, which have a cell for each method."""
    main, *others = block.metrics
    folds = method_folds(block)
    has_mean = any(fold == MEAN for _, fold in block.method_lines)
    whole = MEAN if has_mean else folds[0] if len(folds) == 1 else ""

    def scores_of_methods(metric: str, fold: str) -> list[Estimate | None]:
        return [block.lines.get((method, fold), {}).get(metric) for method in methods]

    def column(head: str, metric: str, fold: str, rank: int) -> _Column:
        scores = scores_of_methods(metric, fold)
        cells = [rounded(None if score is None else score.value, metric) for score in scores]
        best = best_without_model(block.answers, fold, metric)
        pairs = zip(methods, scores, strict=True)
        marks = [mark_of(block.answers_beside(method), fold, metric, score) for method, score in pairs]
        return _Column(head, cells, scores, metric, rank, "" if best is None else rounded(best[1], metric), marks)

    columns = []
    for number, fold in enumerate(folds):
        label = fold_label(block, fold)
        head = " ".join(filter(None, (main, label))) if number == 0 else label
        columns.append(column(head, main, fold, len(others) + 2 if has_mean else 0))
    if has_mean:
        columns.append(column(MEAN, main, MEAN, 0))
    if whole:
        columns.append(_intervals(scores_of_methods(main, whole), main))
        columns += [column(metric, metric, whole, len(others) + 1 - number) for number, metric in enumerate(others)]
    return columns


def fold_label(block: Block, fold: str) -> str:
    """Name a fold as papers do, by its number of classes and its number: 5⁰; empty where there are no folds."""
    if fold == ALL or block.folds == 1:
        return ""
    return f"{block.classes[fold]}{fold.translate(_SUPERSCRIPTS)}" if fold in block.classes else f"fold {fold}"


def _intervals(scores: Sequence[Estimate | None], metric: str) -> _Column:
    n = metric_named(metric).digits()
    cells = [(ends(score, n) if score is not None else "") or MISSING for score in scores]
    return _Column(INTERVAL, cells, [], metric, 1, intervals=[score for score in scores if score is not None])


def _fitting(columns: list[_Column], width: int, longest: int) -> tuple[list[int], int]:
    """Return the places of the columns that fit, and the characters left for names, of which the longest has `longest`.

    Columns go in the order of their ranks. Where all folds had to go, others come back as far as there is room.
    """
    last = max(column.rank for column in columns)
    for enough in (min(longest, COMFORTABLE), min(longest, LEAST)):
        for rank in range(last + 1):
            places = [i for i, column in enumerate(columns) if column.rank == 0 or column.rank > rank]
            room = _room(columns, places, width)
            if room < enough:
                continue
            for place in sorted(range(len(columns)), key=lambda i: -columns[i].rank):
                more = sorted({*places, place})
                if columns[place].rank < last and _room(columns, more, width) >= enough:
                    places = more
            return places, _room(columns, places, width)
    return places, max(room, LEAST)


def _room(columns: list[_Column], places: Sequence[int], width: int) -> int:
    return width - sum(column.width + 2 for column in _headed([columns[i] for i in places]))


def _headed(columns: list[_Column]) -> list[_Column]:
    """Give the mean the name of its metric where no fold stands before it."""
    first, *others = columns
    return [replace(first, head=f"{first.metric} {MEAN}"), *others] if first.head == MEAN else columns


def card_notes(block: Block) -> list[str]:
    """Say what the signs stand for."""
    of_sign = {sign.strip(): block.cards[name] for name, sign in block.signs.items() if sign}
    return conditions_in_words(of_sign, block.rank_all)


def _whole(block: Block, folds: Sequence[str]) -> bool:
    """Return True if one score stands for a method: it has one fold, or a mean over all."""
    return len(folds) in (1, block.folds)
