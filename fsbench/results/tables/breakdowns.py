"""Lay a block out as a sheet: the short table, and the breakdowns that were asked for."""

from collections.abc import Sequence

from fsbench.protocols.reading import metric_named
from fsbench.records.run import Cost
from fsbench.results.published.match import PublishedComparison
from fsbench.results.rows.parts import ABSENT
from fsbench.results.rows.row import ALL, CLASS, MEAN, SIZE, scores_of
from fsbench.results.sheets.cells import MISSING, figure, rounded
from fsbench.results.sheets.layout import Grid, Sheet, Style
from fsbench.results.sheets.legend import interval_notes, meanings
from fsbench.results.tables.blocks import Block, Line
from fsbench.results.tables.sizes import sizes, sizes_in_full
from fsbench.results.tables.summary import NO_ROOM, card_notes, summary, symbols_in_words
from fsbench.results.tables.trivial import mark_of
from fsbench.scores.estimate import Estimate
from fsbench.scores.trivial import is_trivial

BREAKDOWNS = ("fold", "size", "class", "cost", "card")
"""Breakdowns in full; "all" stands for them, and for a line of each run."""

BY_SIZE = "by object size"

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


def to_sheet(block: Block, by: Sequence[str] = (), width: int | None = None) -> Sheet:
    """Lay out the table of a block, with figures by class where the block has them.

    Args:
        block: the rows.
        by: breakdowns in full, of `BREAKDOWNS` or "all"; without any, a row for each method.
        width: characters that the short table may take as text; None for other formats.
    """
    every = "all" in by
    by = [*BREAKDOWNS, "all"] if every else by
    short, style, lines, scores = summary(block, width)
    parts = [("", short)] if "fold" not in by or every else []
    styles = {0: style} if parts else {}
    if every:
        parts.append(("every run, and the answers that need no model", _main(block)))
    if "fold" in by:
        parts += [(f"{metric} by fold", _folds(block, metric)) for metric in block.metrics]
    if "size" in by:
        parts += [(f"{metric} {BY_SIZE}", sizes_in_full(block, metric)) for metric in block.metrics]
    elif "fold" not in by:
        parts.append((f"{block.metrics[0]} {BY_SIZE}", sizes(block, width)))
    parts.append(("by class, over all its (episode, way) pairs", _classes(block)))
    if "cost" in by:
        parts.append(("cost", _costs(block)))
    if "card" in by:
        parts.append(("cards", _cards(block)))
    parts.append(("reported beside measured", _published_grid(block)))
    published = [*_differences(block), *PUBLISHED_NOTES, *_repetitions(block)] if block.published else []
    shown = parts[:1] + [(caption, grid) for caption, grid in parts[1:] if len(grid) > 1]
    styles |= {i: Style(words=len(grid[0])) for i, (caption, grid) in enumerate(shown) if caption == "cards"}
    styles |= {
        i: Style(words=1 + ("fold" in grid[0])) for i, (caption, grid) in enumerate(shown) if caption.endswith(BY_SIZE)
    }
    scored = [*(scores if parts[0][1] is short else ()), *_shown_scores(block, by)]
    intervals = interval_notes(scored, block.metrics)
    explained = meanings(block.metrics)
    symbols = [*symbols_in_words(block, [grid for _, grid in shown]), *explained, *intervals]
    notes = [
        *block.warnings,
        *(line for line in lines if not line.startswith(NO_ROOM)),
        *(SIZE_NOTES if "size" in by and block.parts(SIZE) else ()),
        *published,
        *(note for note in block.notes if note not in explained),
        *(line for line in lines if line.startswith(NO_ROOM)),
    ]
    legend = [*card_notes(block), *(["; ".join(symbols)] if symbols else [])]
    return Sheet(block.title, shown, notes, styles, block.lead, legend, is_short=not every)


def _shown_scores(block: Block, by: Sequence[str]) -> list[Estimate]:
    """List the scores whose intervals, or want of them, the tables below the short one show."""
    kinds = [*[ALL] * ("fold" in by), *[SIZE] * ("size" in by), CLASS]
    lines = [parts for kind in kinds for parts in block.parts(kind).values()]
    scores = [score for parts in lines for rows in parts.values() for score in scores_of(rows).values()]
    return [*scores, *(item.measured for item in block.published)]


def _main(block: Block) -> Grid:
    lines = ([*line, *(_marked(block, line, metric) for metric in block.metrics)] for line in block.lines)
    return [["method", "fold", *block.metrics], *lines]


def _marked(block: Block, line: Line, metric: str) -> str:
    """Write a score, marked where it is not shown to be above the best answer without a model."""
    (method, fold), score = line, block.lines[line].get(metric)
    own = [] if is_trivial(method) else block.answers_beside(method)
    return figure(score, metric) + mark_of(own, fold, metric, score)


def _costs(block: Block) -> Grid:
    """Lay out a line per run."""
    costs = block.costs.items()
    return [
        ["method", "fold", "trainable", "episodes/s", "peak memory", "features kept"],
        *([*line, *_cost(cost)] for line, cost in costs if cost.trainable_parameters is not None),
    ]


def _cards(block: Block) -> Grid:
    """Lay out a line per method."""
    cards = {name + block.marks[name]: card.words for name, card in block.cards.items()}
    head = ["method", *next(iter(cards.values()), {})]
    return [head, *([name, *words.values()] for name, words in cards.items())]


def _cost(cost: Cost) -> list[str]:
    return [
        f"{cost.trainable_parameters:,}",
        MISSING if cost.episodes_per_second is None else f"{cost.episodes_per_second:.2f}",
        MISSING if cost.peak_mib is None else f"{cost.peak_mib:,.0f} MiB",
        MISSING if cost.kept_features is None else f"{cost.kept_features:.0%}",
    ]


def _folds(block: Block, metric: str) -> Grid:
    """Lay out a line per method, as papers print it: the folds side by side, then their mean."""
    folds = sorted({fold for _, fold in block.lines}, key=lambda fold: (fold == MEAN, len(fold), fold))
    cells = {line: _marked(block, line, metric) for line in block.lines}
    head = ["method", "metric", *(fold if fold == MEAN else f"fold {fold}" for fold in folds)]
    methods = dict.fromkeys(method for method, _ in cells)
    return [head, *([name, metric, *(cells.get((name, fold), MISSING) for fold in folds)] for name in methods)]


def _classes(block: Block) -> Grid:
    """Lay out a line for each class of a method and fold: classes differ from fold to fold."""
    every = [(*line, name, rows) for line, parts in block.parts(CLASS).items() for name, rows in parts.items()]
    scores = [scores_of(rows) for *_, rows in every]
    metrics = [metric for metric in block.metrics if any(metric in own for own in scores)]
    short = {"mIoU": "IoU", "accuracy": "acc."}
    return [
        ["method", "fold", "class", *(short.get(m, m) for m in metrics), "pairs"],
        *(
            [*words, *(figure(own.get(m), m) for m in metrics), str(rows[0].pairs)]
            for (*words, rows), own in zip(every, scores, strict=True)
        ),
    ]


def _published_grid(block: Block) -> Grid:
    """Lay out a line per score of ours and reported score of the same method on the same test.

    A verdict names the note that says why scores cannot be compared, or what of them is not known.
    """
    numbers = _numbers(block)
    head = ["method", "fold", "metric", "measured", "reported", "difference", "verdict", "reported as", "source"]
    grid = [head]
    for item in block.published:
        r = item.reported
        moved = MISSING if item.difference is None else f"{item.difference:+.{metric_named(item.metric).digits()}f}"
        stated = f"{r.method}, {r.backbone}, {r.protocol}, {r.stated}"
        measured = figure(item.measured, item.metric)
        verdict = "not comparable" if item.differs else item.verdict
        verdict += f" ({numbers[_note(item)]})" if _note(item) else ""
        line = [item.method, item.fold, item.metric, measured, f"{r.value:.{r.digits}f}", moved, verdict, stated]
        grid.append([*line, r.source])
    return grid


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
