"""Lay the tests of a method out as tables, and list them for CSV."""

from collections.abc import Iterator, Sequence

from fsbench.results.tables.formats import decimal
from fsbench.results.tables.layout import MISSING, Grid, Sheet, Style, figure, moved, shorten
from fsbench.results.tables.ruler.tests import Move, RulerTable, Spread, TestLine

_MOST_PRINTED = 2
"""Published figures beside a score; the CSV has all."""

_WORDS = 24
"""Letters of a word of a test in a table."""

COLUMNS = (
    "part", "test", "other test", "axes", "word", "other word", "metric", "value", "low", "high", "paired", "episodes",
    "method", "backbone", "source", "run",
)  # fmt: skip


def to_sheet(table: RulerTable, width: int | None = None) -> Sheet:
    """Lay out the score of each test, the spread of those with the same predictions, and the largest move by axis."""
    wide = width is None or width >= 100
    names = shorten([line.test for line in table.lines], (34, 46) if wide else (20, 26))
    parts, styles = [("", _tests(table.lines, names, wide))], [Style(words=1)]
    if table.spreads:
        parts.append(("what the ruler alone moves: tests with the same predictions", _spreads(table.spreads, names)))
        styles.append(Style(words=3))
    if table.moves:
        parts.append(("one word changed, the others held: the largest of each axis", _moves(table.moves, wide)))
        styles.append(Style(words=3 if wide else 1))
    return Sheet(table.title, parts, list(table.notes), dict(enumerate(styles)))


def _tests(lines: Sequence[TestLine], names: dict[str, str], wide: bool) -> Grid:
    second = next((name for line in lines for name in line.scores if name != line.metric), "") if wide else ""
    printed = any(line.printed for line in lines)
    rows: Grid = [["test", "score", *filter(None, [second]), "episodes", *["published on it"] * printed]]
    for line in lines:
        name = names[line.test] + " ~" * bool(line.spirit) + f" +{len(line.rows) - 1}" * (len(line.rows) > 1)
        scores = [
            figure(line.scores.get(line.metric), line.metric),
            *([figure(line.scores.get(second), second)] if second else []),
        ]
        rows.append([name, *scores, str(line.episodes), *[_printed(line, wide)] * printed])
    return rows


def _printed(line: TestLine, wide: bool) -> str:
    shown = [f"{one.method} {one.value:g}" for one in line.printed[: _MOST_PRINTED if wide else 1]]
    left = len(line.printed) - len(shown)
    return ", ".join([*shown, *([f"{left} more"] if left else [])]) or MISSING


def _spreads(spreads: Sequence[Spread], names: dict[str, str]) -> Grid:
    grid: Grid = [["tests", "lowest", "highest", "moved by"]]
    for spread in spreads:
        (low, high), (first, last) = spread.scores, (names[spread.tests[place]] for place in (0, -1))
        grid.append([str(len(spread.tests)), f"{low:.2f} {first}", f"{high:.2f} {last}", moved(spread.difference, 2)])
    return grid


def _moves(moves: Sequence[Move], wide: bool) -> Grid:
    grid: Grid = [["axis", *(["from", "to"] if wide else []), "pairs", "largest", "mean"]]
    for axes in dict.fromkeys(move.axes for move in moves):
        own = [move for move in moves if move.axes == axes]
        largest = max(own, key=lambda move: abs(move.difference.value))
        mean = sum(abs(move.difference.value) for move in own) / len(own)
        words = [word if len(word) <= _WORDS else f"{word[: _WORDS - 1]}…" for word in largest.words] if wide else []
        grid.append([", ".join(axes), *words, str(len(own)), moved(largest.difference, 2), f"{mean:.2f}"])
    return grid


def lines(table: RulerTable) -> Iterator[Sequence[object]]:
    """List every number of a table under `COLUMNS`."""
    for line in table.lines:
        for metric, score in line.scores.items():
            numbers = [decimal(value) for value in (score.value, score.low, score.high)]
            run = " ".join(line.runs)
            yield ["test", line.test, "", "", "", "", metric, *numbers, "", line.episodes, "", "", "", run]
        for one in line.printed:
            numbers = [decimal(one.value), "", ""]
            yield [
                "published",
                line.test,
                *[""] * 4,
                "mIoU",
                *numbers,
                *[""] * 2,
                one.method,
                one.backbone,
                one.source,
                "",
            ]
    for spread in table.spreads:
        numbers = [decimal(value) for value in (spread.difference.value, spread.difference.low, spread.difference.high)]
        tests = spread.tests[0], spread.tests[-1]
        yield ["same predictions", *tests, *[""] * 3, spread.metric, *numbers, "yes", *[""] * 5]
    for move in table.moves:
        numbers = [decimal(value) for value in (move.difference.value, move.difference.low, move.difference.high)]
        paired = "yes" if move.is_paired else "no"
        axes = "; ".join(move.axes)
        yield ["moved", move.test, move.other, axes, *move.words, move.metric, *numbers, paired, *[""] * 5]
