"""The columns of tables of scores and costs, and the cells of methods in them.

Each has its place here: the terminal's tables, LaTeX, CSV, reports and leaderboards show it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, harmonic_mean

from fsbench.protocols.reading import metric_named
from fsbench.records.run import Cost
from fsbench.results.conclusions import conditions_in_words
from fsbench.results.costs import CostFigure
from fsbench.results.rows.row import ALL, MEAN, fold_in_words
from fsbench.results.sheets.cells import places, rounded
from fsbench.results.sheets.trainings import ANOTHER, IMAGES, SPREAD, TRAINING_CELLS, TRAININGS
from fsbench.results.table import Cell, Column, Form, Line, score_cell
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.trivial import best_without_model, mark_of
from fsbench.scores.trainings import Reach

INTERVAL = "95 % interval"
BEST = "(best without a model)"
"""Label of the line of the best answers that need no model."""

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class CostColumn(CostFigure):
    """A table column of costs of runs, such as seconds.

    Attributes:
        column: how the column is printed.
    """

    column: Column

    def cell(self, costs: Iterable[Cost]) -> Cell:
        """Return the table cell for the cost of a method's runs."""
        return Cell(self.value(costs))


def _cost(column: Column, entry: str, join: Callable[[Sequence[float]], float] = max) -> CostColumn:
    return CostColumn(f"{column.head}{column.unit}", entry, join, column=column)


_SPEED = "episodes per second, from the mean of seconds over the runs"
_MEMORY = "peak memory, the largest of the runs"
_KEPT = "how often the features of an image were there from an earlier episode"

COSTS = (
    _cost(Column("trainable", Form.COUNT, "trainable parameters", "trainable", rank=3), "trainable_parameters"),
    _cost(Column("episodes/s", Form.NUMBER, _SPEED, "speed", rank=2), "episodes_per_second", harmonic_mean),
    _cost(Column("peak memory", Form.NUMBER, _MEMORY, "memory", digits=0, unit=" MiB", rank=1), "peak_mib"),
    _cost(Column("features kept", Form.SHARE, _KEPT, "kept", rank=1), "kept_features", fmean),
)
"""Costs that tables show."""


def known_costs(costs: Iterable[Sequence[Cost]]) -> list[CostColumn]:
    """Return the columns of the costs that any of several lines states, each of some runs."""
    lines = list(costs)
    return [each for each in COSTS if any(each.value(own) is not None for own in lines)]


def score_columns(block: Block) -> list[Column]:
    """Return the score columns of a table: each metric by fold and mean, with the first metric's interval.

    By default only some columns are displayed: of the first metric the folds and their mean, of each other metric the
    mean. A test with a single fold shows that fold.
    """
    folds = method_folds(block)
    shown = [*folds, *[MEAN] * any(fold == MEAN for _, fold in block.method_lines)]
    whole = shown[-1] if MEAN in shown or len(shown) == 1 else ""
    count = len(block.metrics)
    columns = []
    for number, metric in enumerate(block.metrics):
        for fold in shown:
            is_first, is_whole = number == 0, fold == whole
            label = MEAN if fold == MEAN else fold_label(block, fold)
            head = metric if is_whole and not is_first else " ".join(filter(None, (metric, label)))
            classes = f" with {block.classes[fold]} classes" if fold in block.classes else ""
            meaning = ", ".join(filter(None, (metric, fold_in_words(fold) + classes)))
            rank = 4 + count - number if not is_first else 0 if fold == (whole or fold) else 5 + count
            columns.append(
                Column(
                    head, Form.SCORE, meaning, f"{metric}.{fold}", metric, fold,
                    rank=rank, usual=is_first or is_whole, short=label * is_first,
                )
            )  # fmt: skip
        if number == 0 and whole and Reach.OTHER in block.reaches.values():
            columns += [
                Column(IMAGES, Form.INTERVAL, metric=metric, part=whole, rank=5 + count),
                Column(ANOTHER, Form.INTERVAL, metric=metric, part=whole, rank=6 + count),
                Column(SPREAD, Form.NUMBER, _SPREAD, "sd", part=whole, digits=metric_named(metric).digits(), rank=1),
            ]
            columns = [
                Column(TRAININGS, Form.FIGURES, _TRAININGS, "trainings", part=whole, rank=6 + count),
                *columns,
            ]
        elif number == 0 and whole:
            columns.append(Column(INTERVAL, Form.INTERVAL, metric=metric, part=whole, rank=1))
    return columns


_TRAININGS = "number of trainings (seeds); a number for each fold where folds differ"
_SPREAD = "standard deviation of the score over trainings"


def training_notes(block: Block) -> list[str]:
    """Return notes that name methods with a single training, and folds that lack a training."""
    single = [name for name, reach in block.reaches.items() if reach is Reach.THESE]
    notes = [f"{', '.join(single)}: only one training; another training may score otherwise"] if single else []
    seeds_of = []
    for method in (name for name, reach in block.reaches.items() if reach is Reach.OTHER):
        of_fold, every = block.seeds_by_fold(method)
        missing = {fold: [str(seed) for seed in every if seed not in seeds] for fold, seeds in of_fold.items()}
        lacking = [f"fold {fold} has no record of seed {', '.join(seeds)}" for fold, seeds in missing.items() if seeds]
        seeds_of.append(", ".join([f"{method} {', '.join(map(str, every))}", *lacking]))
    return [*notes, *([f"seeds of the trainings: {'; '.join(seeds_of)}"] if seeds_of else [])]


def score_cells(block: Block, methods: Sequence[str], column: Column, is_ranked: bool = True) -> list[Cell]:
    """Return the cells of a score column, with the best and second-best marked.

    A score that may be no better than a trivial prediction without a model gets the mark `!`.

    Args:
        block: the scores of the test.
        methods: labels of the methods, one for each cell.
        column: one of `score_columns`.
        is_ranked: whether the best and second-best are marked.
    """
    if column.head in TRAINING_CELLS:
        known = [block.trained.get((name, column.part), {}).get(block.metrics[0]) for name in methods]
        return [Cell() if found is None else TRAINING_CELLS[column.head](found) for found in known]
    scores = [block.lines.get((method, column.part), {}).get(column.metric) for method in methods]
    if column.form is Form.INTERVAL:
        return [score_cell(score) for score in scores]
    words = [rounded(None if score is None else score.value, column.metric) for score in scores]
    named = places(words, scores, block.ranked_among(methods), column.metric)
    return [
        score_cell(
            score, mark_of(block.answers_beside(method), column.part, column.metric, score), place if is_ranked else ""
        )
        for method, score, place in zip(methods, scores, named, strict=True)
    ]


def best_line(block: Block, columns: Sequence[Column]) -> Line:
    """Return the table line with the best trivial prediction without a model in each column."""
    cells = [Cell(BEST)]
    for column in columns:
        is_score = bool(column.metric) and column.form is Form.SCORE
        best = best_without_model(block.answers, column.part, column.metric) if is_score else None
        if best is None:
            cells.append(Cell(""))
            continue
        name, value = best
        score = block.lines.get((name, column.part), {}).get(column.metric)
        cells.append(Cell(value, score, note=name))
    return Line(cells, "best answer")


def fold_label(block: Block, fold: str) -> str:
    """Write a fold as papers do: 5⁰ is fold 0 with 5 classes; "" if there are no folds."""
    if fold == ALL or block.folds == 1:
        return ""
    return f"{block.classes[fold]}{fold.translate(_SUPERSCRIPTS)}" if fold in block.classes else f"fold {fold}"


def fold_signs(block: Block) -> dict[str, str]:
    """Return {column heading such as 5⁰: its meaning}.

    Headings that need no explanation are left out.
    """
    labels = {fold: fold_label(block, fold) for fold in method_folds(block) if fold in block.classes}
    labels = {fold: label for fold, label in labels.items() if label}
    numbers = {block.classes[fold] for fold in labels}
    if len(labels) > 1 and len(numbers) == 1:
        words = f"{', '.join(labels.values())}: folds {', '.join(labels)}, {numbers.pop()} classes each"
        return dict.fromkeys(labels.values(), words)
    return {label: f"{label}: fold {fold}, {block.classes[fold]} classes" for fold, label in labels.items()}


def method_folds(block: Block) -> list[str]:
    """List the folds for which methods have scores (numbers, or "all" without folds), without the mean over folds."""
    folds = {fold for _, fold in block.method_lines if fold != MEAN}
    return sorted(folds, key=lambda fold: (len(fold), fold))


def card_notes(block: Block) -> list[str]:
    """Return notes that explain signs such as †: how methods were trained, and that they are not ranked together."""
    of_sign = {sign.strip(): block.cards[name] for name, sign in block.signs.items() if sign}
    return conditions_in_words(of_sign, block.rank_all)
