"""Tables of a block: the short one, and the breakdowns that were asked for."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import fmean

from fsbench.results.published.match import PublishedComparison
from fsbench.results.rows.parts import ABSENT
from fsbench.results.rows.row import ALL, CLASS, MEAN, SIZE, scores_of
from fsbench.results.sheets.cells import rounded
from fsbench.results.sheets.draws import draw_tables
from fsbench.results.sheets.legend import meanings
from fsbench.results.sheets.trainings import SCORE_SIGNS
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table, Value, score_cell
from fsbench.results.tables.blocks import Block
from fsbench.results.tables.blocks import Line as Key
from fsbench.results.tables.columns import (
    COSTS,
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

SINGLE = "trainings"
"""Word of what adds single trainings to the short table."""
BREAKDOWNS = ("fold", "size", "class", "cost", "card")
"""Breakdowns in full; "all" stands for them, and for a line of each run."""

SIZE_NOTES = (
    "object size: share of the query's pixels (void included) that show the class. Same episodes, grouped by it. The "
    "settings 0-5, 5-10, 10-15 and 0-15 are tests of their own",
    f"{ABSENT}: queries without the class; accuracy is how often the method says so",
)

PUBLISHED_NOTES = (
    "reported: as printed, under the protocol and setting that follow the figure. difference: measured minus reported. "
    "above, below: the difference is more than other images explain, which is t · √2 · the error of the measured score "
    "and half a unit of the last reported digit (as if the reported score came from other images). Otherwise the two "
    "scores are not told apart",
    "Not known: how far another training or another choice of the checkpoint moves the measured or the reported score, "
    "and what repeated seeds do to it",
)


def to_sheet(block: Block, by: Sequence[str] = ()) -> Sheet:
    """Lay out the scores of one test as tables for printing, with breakdowns such as "class" or "size".

    Args:
        block: the scores of the test.
        by: names of breakdowns (`BREAKDOWNS`, or "all" for every one); if empty, a table with a line for each method;
            "trainings" adds a line for each training of a method to that table.
    """
    every = "all" in by
    by = [*BREAKDOWNS, "all"] if every else by
    tables = [short_table(block, SINGLE in by)] if "fold" not in by or every else []
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
        f"{len(folds)} of {block.folds} folds have runs, so there is no mean over folds. --by fold shows each fold "
        "with its intervals and all scores"
    )
    notes = [
        *block.warnings,
        *[few] * (len(folds) not in (1, block.folds)),
        *(SIZE_NOTES if "size" in by and block.parts(SIZE) else ()),
        *([*_differences(block), *PUBLISHED_NOTES, *_repetitions(block)] if block.published else []),
        *(note for note in block.notes if note not in explained),
    ]
    own = " (on images of the method's size)" * any(block.sides.values())
    above = f"{NOT_ABOVE}: may be no better than an answer without a model{own}"
    return Sheet(
        block.title,
        [*draw_tables(block.rows, block.metrics, block.marks), *tables, *(table for table in further if table.lines)],
        block.lead,
        notes,
        card_notes(block),
        fold_signs(block) | {NOT_ABOVE: above} | SCORE_SIGNS,
        is_short=not every,
    )


def short_table(block: Block, single: bool = False) -> Table:
    """Return a table with a line for each method: scores by fold as papers print them, their mean and its interval.

    With `single` a method's line is followed by a line for each of its trainings.
    """
    methods = list(dict.fromkeys(method for method, _ in block.method_lines))
    columns = [column for column in score_columns(block) if column.usual]
    by_column = [score_cells(block, methods, column) for column in columns]
    lines = [
        Line([Cell(name, mark=block.marks.get(name, "")), *(cells[n] for cells in by_column)])
        for n, name in enumerate(methods)
    ]
    if single:
        lines = [one for line in lines for one in (line, *_single_trainings(block, line, columns))]
    best = best_line(block, columns)
    return Table([METHOD, *columns], [*lines, *[best] * any(cell.note for cell in best.cells)])


def _single_trainings(block: Block, method: Line, columns: Sequence[Column]) -> list[Line]:
    """Return a line for each training of a method with its scores by seed, which have no interval and no place.

    A mean is one over all folds that have a training of the seed, where all have.
    """
    label = str(method.cells[0].value)
    of_fold, every = block.seeds_by_fold(label)
    if len(every) < 2:
        return []
    values: dict[tuple[str, str, int | None], float] = {}
    for fold, seeds in of_fold.items():
        for metric, found in block.trained.get((label, fold), {}).items():
            for seed, value in zip(seeds, found.spreads[0].scores[0], strict=True):
                values[metric, fold, seed] = value

    def cell(column: Column, seed: int | None) -> Cell:
        folds = of_fold if column.part == MEAN else (column.part,)
        known = [values.get((column.metric, fold, seed)) for fold in folds]
        shown = [value for value in known if value is not None]
        return Cell(fmean(shown) if column.form is Form.SCORE and shown and len(shown) == len(known) else "")

    return [Line([Cell(f"  seed {seed}"), *(cell(column, seed) for column in columns)], "training") for seed in every]


def every_run(block: Block) -> Table:
    """Return a table with a line for each run and each trivial prediction without a model."""
    return Table.from_columns(
        *_method_and_fold(block.lines),
        *((Column(m, Form.FIGURE, metric=m), [_marked(block, line, m) for line in block.lines]) for m in block.metrics),
        caption="every run, and answers without a model",
    )


def _method_and_fold(lines: Collection[Key]) -> list[tuple[Column, list[Value]]]:
    """Return the first two columns of a table with these lines."""
    return [(METHOD, [method for method, _ in lines]), (Column("fold"), [fold for _, fold in lines])]


def by_fold(block: Block, metric: str) -> Table:
    """Return a table with a line for each method: one score by fold, then the mean over folds."""
    folds = sorted({fold for _, fold in block.lines}, key=lambda fold: (fold == MEAN, len(fold), fold))
    heads = {fold: fold if fold == MEAN else f"fold {fold}" for fold in folds}
    methods = dict.fromkeys(method for method, _ in block.lines)
    return Table.from_columns(
        (METHOD, methods),
        (Column("metric"), [metric] * len(methods)),
        *(
            (Column(heads[f], Form.FIGURE, metric=metric, part=f), [_marked(block, (m, f), metric) for m in methods])
            for f in folds
        ),
        caption=f"{metric} by fold",
    )


def by_class(block: Block) -> Table:
    """Return a table with a line for each method, fold and class."""
    every = [(*line, name, rows) for line, parts in block.parts(CLASS).items() for name, rows in parts.items()]
    scores = [scores_of(rows) for *_, rows in every]
    metrics = [metric for metric in block.metrics if any(metric in own for own in scores)]
    short = {"mIoU": "IoU", "accuracy": "acc."}
    return Table.from_columns(
        *_method_and_fold([(method, fold) for method, fold, *_ in every]),
        (Column("class"), [name for *_, name, _ in every]),
        *((Column(short.get(m, m), Form.FIGURE, metric=m), [own.get(m) for own in scores]) for m in metrics),
        (Column("pairs", Form.COUNT), [rows[0].pairs for *_, rows in every]),
        caption="by class, over all (episode, way) pairs that ask for it",
    )


def costs(block: Block) -> Table:
    """Return a table with a line for each method and fold: time, memory and parameters of its runs."""
    known = {line: own for line, own in block.costs.items() if own[0].trainable_parameters is not None}
    columns = [(each.column, [each.value(own) for own in known.values()]) for each in COSTS]
    return Table.from_columns(*_method_and_fold(known), *columns, caption="cost")


def cards(block: Block) -> Table:
    """Return a table with a line for each method: how it was trained and what it is given."""
    names = next(iter(block.cards.values())).words if block.cards else {}
    methods = [Cell(name, mark=block.marks[name]) for name in block.cards]
    columns = [(Column(name), [card.words[name] for card in block.cards.values()]) for name in names]
    return Table.from_columns((METHOD, methods), *columns, caption="cards")


def reported(block: Block) -> Table:
    """Return a table of measured and published scores, a line for each pair of the same method and test.

    The verdict in a line (such as "above") refers by number to a note that says why the two scores cannot be compared,
    or what is unknown about the published one.
    """
    numbers, found = _numbers(block), block.published
    verdicts = ["not comparable" if item.differs else item.verdict for item in found]
    numbered = [f" ({numbers[_note(item)]})" if _note(item) else "" for item in found]
    stated = [f"{r.method}, {r.backbone}, {r.protocol}, {r.stated}" for r in (item.reported for item in found)]
    return Table.from_columns(
        *_method_and_fold([(item.method, item.fold) for item in found]),
        (Column("metric"), [item.metric for item in found]),
        (Column("measured", Form.FIGURE), [replace(score_cell(i.measured), metric=i.metric) for i in found]),
        (Column("reported", Form.FIGURES), [f"{item.reported.value:.{item.reported.digits}f}" for item in found]),
        (Column("difference", Form.DIFFERENCE), [Cell(item.difference, metric=item.metric) for item in found]),
        (Column("verdict", Form.FIGURES), map("".join, zip(verdicts, numbered, strict=True))),
        (Column("reported as", Form.FIGURES), stated),
        (Column("source", Form.FIGURES), [item.reported.source for item in found]),
        caption="reported beside measured",
    )


def _marked(block: Block, line: Key, metric: str) -> Cell:
    """Return the cell of a score, marked where it is not shown to be above the best answer without a model."""
    (method, fold), score = line, block.lines.get(line, {}).get(metric)
    own = [] if is_trivial(method) else block.answers_beside(method)
    return score_cell(score, mark_of(own, fold, metric, score))


def _note(item: PublishedComparison) -> str:
    """Name what keeps a score from being compared, or else what of it is not known; empty for neither."""
    if item.differs:
        return f"not the reported experiment: {'; '.join(item.differs)}"
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
                f"{metric} {value:g}{where} is compared with {len(scores)} runs, which score {least} to {most}; each "
                "run is compared by itself"
            )
    return lines
