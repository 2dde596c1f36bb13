"""Lay a block out as a sheet: its rows as grids of words, and the breakdowns that were asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fsbench.metrics.bootstrap import Interval
from fsbench.metrics.scores import METRICS
from fsbench.tables.blocks import Block, Row, Subset
from fsbench.tables.subsets import ABSENT, SIZES

Grid = list[list[str]]

INTERVAL_NOTE = "[low, high]: 95 % interval, {}; scores in percent"
SIZE_NOTES = (
    "by object size: these very episodes, sorted by the share of the query's pixels (void included) that shows the "
    "way; the size-restricted settings 0-5, 5-10, 10-15 and 0-15 are something else: other episodes, whose supports "
    "are small as well and whose queries always show the class",
    f"{ABSENT}: the query does not show the way; an IoU means nothing there (the run's mIoU counts what is predicted), "
    "accuracy is how often that is said",
)

PUBLISHED_NOTES = (
    "reported: as printed, made under the protocol and setting named after it; difference: measured minus reported; "
    "above and below: measured is, by more than its interval and the rounding of what is reported",
    "a reported figure has an uncertainty of its own (training, choice of checkpoint) that is not known here",
)


@dataclass(frozen=True)
class Sheet:
    """A titled list of (caption, grid), and notes. A grid's first row is its head, its first two columns are words."""

    title: str
    parts: list[tuple[str, Grid]]
    notes: list[str]


def to_sheet(block: Block, by: Sequence[str] = ()) -> Sheet:
    """Lay out the table of a block, with figures by class where the block has them.

    Args:
        block: the rows.
        by: breakdowns in full ("size", "fold"); without any, figures by object size stand in short form.
    """
    accuracy = "accuracy: the share of right decisions on presence"
    parts = [("", _main(block))] if "fold" not in by else [(f"{m} by fold", _folds(block, m)) for m in block.metrics]
    if not by:
        caption = "by object size, over the (episode, way) pairs that show the way (their number)"
        parts += [(f"{m} {caption}", _sizes(block, m)) for m in block.metrics if m == "mIoU"]
        caption = "by object size, over the same pairs"
        parts += [(f"presence found, {caption}", _sizes(block, m)) for m in block.metrics if m == "accuracy"]
    if "size" in by:
        parts.append((f"by object size, over the (episode, way) pairs of these episodes; {accuracy}", _strata(block)))
    parts.append(("by class, over all its (episode, way) pairs", _classes(block)))
    parts.append(("reported beside measured", _published(block)))
    published = [*_differences(block), *PUBLISHED_NOTES] if block.published else []
    notes = [
        *block.notes,
        *(SIZE_NOTES if "size" in by and any(row.by_size for row in block.rows) else ()),
        *published,
        INTERVAL_NOTE.format(block.interval),
    ]
    return Sheet(block.title, [(caption, grid) for caption, grid in parts if len(grid) > 1], notes)


def shortened(names: Iterable[str]) -> dict[str, str]:
    """Shorten names to what a plot has room for: name -> its ends, since variants differ there.

    No two short names are the same; those that differ in the middle alone are numbered.
    """
    names = list(dict.fromkeys(names))
    for width in (34, 46, 58):
        short = {name: _ends(name, width) for name in names}
        if len(set(short.values())) == len(names):
            return short
    return {name: f"{number}: {_ends(name, 58)}" for number, name in enumerate(names, 1)}


def _ends(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: (width - 1) // 2]}…{name[-(width // 2) :]}"


def figure(interval: Interval | None, metric: str) -> str:
    """Write a score with its interval; ROM and RUM, which end at 1, have a third digit."""
    if interval is None:
        return "–"
    n = METRICS[metric].digits()
    return f"{interval.value:.{n}f} [{interval.low:.{n}f}, {interval.high:.{n}f}]"


def _main(block: Block) -> Grid:
    head = ["method", "fold", *block.metrics, "trainable", "episodes/s", "peak memory"]
    return [
        head,
        *([r.method, r.fold, *(figure(r.scores.get(m), m) for m in block.metrics), *_cost(r)] for r in block.rows),
    ]


def _cost(row: Row) -> list[str]:
    return [
        "–" if row.trainable is None else f"{row.trainable:,}",
        "–" if row.episodes_per_second is None else f"{row.episodes_per_second:.2f}",
        "–" if row.peak_mib is None else f"{row.peak_mib:,.0f} MiB",
    ]


def _folds(block: Block, metric: str) -> Grid:
    """Lay out a line per method, as papers print it: the folds side by side, then their mean."""
    folds = sorted({row.fold for row in block.rows}, key=lambda fold: (fold == "mean", len(fold), fold))
    lines: dict[str, dict[str, str]] = {}
    for row in block.rows:
        lines.setdefault(row.method, {})[row.fold] = figure(row.scores.get(metric), metric)
    head = ["method", "metric", *(fold if fold == "mean" else f"fold {fold}" for fold in folds)]
    return [head, *([method, metric, *(cells.get(fold, "–") for fold in folds)] for method, cells in lines.items())]


def _sizes(block: Block, metric: str) -> Grid:
    def cell(cell: Subset) -> str:
        return f"{figure(cell.scores.get(metric), metric)} ({cell.pairs})"

    head = ["method", "fold", *(f"{name} % of the image" for name in SIZES)]
    return [head, *([r.method, r.fold, *(cell(r.by_size[name]) for name in SIZES)] for r in block.rows if r.by_size)]


def _strata(block: Block) -> Grid:
    """Lay out a line per (row, size)."""
    metrics = _known(block, [cell for row in block.rows for cell in row.by_size.values()])
    head = ["method", "fold", "object size", "episodes", "pairs", *metrics]
    return [
        head,
        *(
            [row.method, row.fold, f"{name} %" if name in SIZES else name, str(cell.episodes), str(cell.pairs)]
            + [figure(cell.scores.get(m), m) for m in metrics]
            for row in block.rows
            for name, cell in row.by_size.items()
        ),
    ]


def _classes(block: Block) -> Grid:
    """Lay out a line per (row, class): classes differ from fold to fold."""
    rows = [row for row in block.rows if row.fold != "mean"]
    metrics = _known(block, [cell for row in rows for cell in row.by_class.values()])
    short = {"mIoU": "IoU", "accuracy": "acc."}
    return [
        ["method", "fold", "class", *(short.get(m, m) for m in metrics), "pairs"],
        *(
            [row.method, row.fold, name, *(figure(cell.scores.get(m), m) for m in metrics), str(cell.pairs)]
            for row in rows
            for name, cell in row.by_class.items()
        ),
    ]


def _published(block: Block) -> Grid:
    """Lay out a line per score of ours and reported score of the same method on the same test.

    The verdict of scores that cannot be compared names the note that says why.
    """
    numbers = _numbers(block)
    head = ["method", "fold", "metric", "measured", "reported", "difference", "verdict", "reported as", "source"]
    grid = [head]
    for item in block.published:
        r = item.reported
        moved = "–" if item.difference is None else f"{item.difference:+.{METRICS[item.metric].digits()}f}"
        stated = f"{r.method}, {r.backbone}, {r.protocol}, {r.stated}"
        measured = figure(item.measured, item.metric)
        verdict = f"not comparable ({numbers[item.differs]})" if item.differs else item.verdict
        line = [item.method, item.fold, item.metric, measured, f"{r.value:.{r.digits}f}", moved, verdict, stated]
        grid.append([*line, r.source])
    return grid


def _numbers(block: Block) -> dict[tuple[str, ...], int]:
    """Number all that keeps scores of a block from being compared: differences -> number of their note."""
    return {differs: n for n, differs in enumerate(dict.fromkeys(i.differs for i in block.published if i.differs), 1)}


def _differences(block: Block) -> list[str]:
    """Name what differs, a note for each number in the verdicts."""
    return [f"({number}) differs from the reported one: {'; '.join(d)}" for d, number in _numbers(block).items()]


def _known(block: Block, cells: list[Subset]) -> list[str]:
    """List the block's metrics that parts of a run have."""
    return [metric for metric in block.metrics if any(metric in cell.scores for cell in cells)]
