"""Tables of a block: the short one, and the breakdowns that were asked for."""

from collections.abc import Sequence
from dataclasses import replace

from fsbench.results.published.match import PublishedComparison
from fsbench.results.rows.parts import ABSENT
from fsbench.results.rows.row import ALL, CLASS, MEAN, SIZE, scores_of
from fsbench.results.sheets.cells import rounded
from fsbench.results.sheets.legend import meanings
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table, score_cell
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.blocks import Line as Key
from fsbench.results.tables.columns import (
    COSTS,
    METHOD,
    best_line,
    card_notes,
    fold_signs,
    method_folds,
    score_cells,
    score_columns,
)
from fsbench.results.tables.sizes import sizes, sizes_in_full
from fsbench.results.tables.trivial import NOT_ABOVE, mark_of
from fsbench.scores.trivial import is_trivial

BREAKDOWNS = ("fold", "size", "class", "cost", "card")
"""Breakdowns in full; "all" stands for them, and for a line of each run."""

SIZE_NOTES = (
    "object size: the share of the query's pixels, void included, that shows the class. These are the episodes of the "
    "test, sorted; the size-restricted settings (0-5, 5-10, 10-15, 0-15) are other tests with other episodes",
    f"{ABSENT}: queries that do not show the class. There is no object to find, so there is accuracy alone: how often "
    "the method says so",
)

PUBLISHED_NOTES = (
    "reported: as printed, made under the protocol and setting named after it; difference: measured minus reported; "
    "above and below: measured is, by more than t · √2 · its error and half a unit of the last digit that is reported, "
    "as if other images had made the reported figure; else it is not told apart",
    "how far another training or choice of the checkpoint would have moved either figure is not known, nor what "
    "repeated seeds did",
)


def to_sheet(block: Block, by: Sequence[str] = ()) -> Sheet:
    """Return the tables of a block, with figures by class where the block has them.

    Args:
        block: the rows.
        by: breakdowns in full, of `BREAKDOWNS` or "all"; without any, a row for each method.
    """
    every = "all" in by
    by = [*BREAKDOWNS, "all"] if every else by
    tables = [short_table(block)] if "fold" not in by or every else []
    further = [every_run(block)] if every else []
    if "fold" in by:
        further += [by_fold(block, metric) for metric in block.metrics]
    if "size" in by:
        further += [sizes_in_full(block, metric) for metric in block.metrics]
    elif "fold" not in by:
        further.append(sizes(block))
    further.append(by_class(block))
    if "cost" in by:
        further.append(costs(block))
    if "card" in by:
        further.append(cards(block))
    further.append(reported(block))
    explained = meanings(block.metrics)
    folds = method_folds(block)
    few = (
        f"{len(folds)} of {block.folds} folds are there, so there is no mean; --by fold shows the intervals and other "
        "scores of each fold"
    )
    notes = [
        *block.warnings,
        *[few] * (len(folds) not in (1, block.folds)),
        *(SIZE_NOTES if "size" in by and block.parts(SIZE) else ()),
        *([*_differences(block), *PUBLISHED_NOTES, *_repetitions(block)] if block.published else []),
        *(note for note in block.notes if note not in explained),
    ]
    own = " on images of its method's size" * any(block.sides.values())
    above = f"{NOT_ABOVE} marks a score that is not shown to be above the best answer without a model{own}"
    return Sheet(
        block.title,
        [*tables, *(table for table in further if table.lines)],
        block.lead,
        notes,
        card_notes(block),
        fold_signs(block) | {NOT_ABOVE: above},
        is_short=not every,
    )


def short_table(block: Block) -> Table:
    """Return a line for each method: its folds side by side as papers print them, their mean, its interval."""
    methods = list(dict.fromkeys(method for method, _ in block.method_lines))
    columns = [column for column in score_columns(block) if column.usual]
    by_column = [score_cells(block, methods, column) for column in columns]
    lines = [
        Line([Cell(name, mark=block.marks.get(name, "")), *(cells[n] for cells in by_column)])
        for n, name in enumerate(methods)
    ]
    best = best_line(block, columns)
    return Table([METHOD, *columns], [*lines, *[best] * any(cell.note for cell in best.cells)])


def every_run(block: Block) -> Table:
    """Return a line for each run and each answer without a model."""
    columns = [METHOD, Column("fold"), *(Column(metric, Form.FIGURE, metric=metric) for metric in block.metrics)]
    lines = [Line([*map(Cell, line), *(_marked(block, line, m) for m in block.metrics)]) for line in block.lines]
    return Table(columns, lines, "every run, and the answers that need no model")


def by_fold(block: Block, metric: str) -> Table:
    """Return a line for each method, as papers print it: the folds side by side, then their mean."""
    folds = sorted({fold for _, fold in block.lines}, key=lambda fold: (fold == MEAN, len(fold), fold))
    heads = {fold: fold if fold == MEAN else f"fold {fold}" for fold in folds}
    columns = [METHOD, Column("metric"), *(Column(heads[f], Form.FIGURE, metric=metric, part=f) for f in folds)]
    methods = dict.fromkeys(method for method, _ in block.lines)
    lines = [Line([Cell(name), Cell(metric), *(_marked(block, (name, f), metric) for f in folds)]) for name in methods]
    return Table(columns, lines, f"{metric} by fold")


def by_class(block: Block) -> Table:
    """Return a line for each class of a method and fold: classes differ from fold to fold."""
    every = [(*line, name, rows) for line, parts in block.parts(CLASS).items() for name, rows in parts.items()]
    scores = [scores_of(rows) for *_, rows in every]
    metrics = [metric for metric in block.metrics if any(metric in own for own in scores)]
    short = {"mIoU": "IoU", "accuracy": "acc."}
    columns = [METHOD, Column("fold"), Column("class")]
    columns += [Column(short.get(metric, metric), Form.FIGURE, metric=metric) for metric in metrics]
    lines = [
        Line([*map(Cell, words), *(score_cell(own.get(metric)) for metric in metrics), Cell(rows[0].pairs)])
        for (*words, rows), own in zip(every, scores, strict=True)
    ]
    return Table([*columns, Column("pairs", Form.COUNT)], lines, "by class, over all its (episode, way) pairs")


def costs(block: Block) -> Table:
    """Return a line for each run that says what it cost."""
    known = {line: cost for line, cost in block.costs.items() if cost.trainable_parameters is not None}
    lines = [Line([*map(Cell, line), *(each.cell([cost]) for each in COSTS)]) for line, cost in known.items()]
    return Table([METHOD, Column("fold"), *(each.column for each in COSTS)], lines, "cost")


def cards(block: Block) -> Table:
    """Return a line for each method with the entries of its card."""
    names = next(iter(block.cards.values())).words if block.cards else {}
    lines = [
        Line([Cell(name, mark=block.marks[name]), *map(Cell, card.words.values())])
        for name, card in block.cards.items()
    ]
    return Table([METHOD, *map(Column, names)], lines, "cards")


def reported(block: Block) -> Table:
    """Return a line for each score of ours and reported score of the same method on the same test.

    A verdict names the note that says why scores cannot be compared, or what of them is not known.
    """
    numbers = _numbers(block)
    columns = [
        METHOD,
        *(Column("fold"), Column("metric"), Column("measured", Form.FIGURE), Column("reported", Form.FIGURES)),
        *(Column("difference", Form.DIFFERENCE), Column("verdict", Form.FIGURES)),
        *(Column("reported as", Form.FIGURES), Column("source", Form.FIGURES)),
    ]
    lines = []
    for item in block.published:
        r = item.reported
        verdict = "not comparable" if item.differs else item.verdict
        verdict += f" ({numbers[_note(item)]})" if _note(item) else ""
        cells = [
            *(Cell(item.method), Cell(item.fold), Cell(item.metric)),
            replace(score_cell(item.measured), metric=item.metric),
            Cell(f"{r.value:.{r.digits}f}"),
            Cell(item.difference, metric=item.metric),
            *map(Cell, (verdict, f"{r.method}, {r.backbone}, {r.protocol}, {r.stated}", r.source)),
        ]
        lines.append(Line(cells))
    return Table(columns, lines, "reported beside measured")


def _marked(block: Block, line: Key, metric: str) -> Cell:
    """Return the cell of a score, marked where it is not shown to be above the best answer without a model."""
    (method, fold), score = line, block.lines.get(line, {}).get(metric)
    own = [] if is_trivial(method) else block.answers_beside(method)
    return score_cell(score, mark_of(own, fold, metric, score))


def _note(item: PublishedComparison) -> str:
    """Name what keeps a score from being compared, or else what of it is not known; empty for neither."""
    if item.differs:
        return f"differs from the reported one: {'; '.join(item.differs)}"
    return "; ".join(item.caveats)


def _numbers(block: Block) -> dict[str, int]:
    """Number the notes on the reported scores of a block."""
    return {note: n for n, note in enumerate(dict.fromkeys(filter(None, map(_note, block.published))), 1)}


def _differences(block: Block) -> list[str]:
    """Write a line for each number in the verdicts."""
    return [f"({number}) {note}" for note, number in _numbers(block).items()]


def _repetitions(block: Block) -> list[str]:
    """Say of a reported figure that stands beside several runs, such as those of other seeds, how far they differ."""
    beside: dict[tuple[str, str, float], list[PublishedComparison]] = {}
    for item in block.published:
        if item.difference is not None:
            beside.setdefault((item.fold, item.metric, item.reported.value), []).append(item)
    lines = []
    for (fold, metric, value), items in beside.items():
        scores = {item.method: item.measured.value for item in items}
        if len(scores) > 1:
            least, most = (rounded(end(scores.values()), metric) for end in (min, max))
            where = "" if fold == ALL else f", {fold if fold == MEAN else f'fold {fold}'}"
            lines.append(
                f"{len(scores)} runs stand beside {metric} {value:g}{where}: from {least} to {most}, each compared by "
                "itself"
            )
    return lines
