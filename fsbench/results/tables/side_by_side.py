"""Methods under several tests in one table, which has the test as a column: nothing is ranked across tests."""

from collections.abc import Sequence

from fsbench.protocols.reading import metric_named
from fsbench.results.tables.blocks import Block, Row
from fsbench.results.tables.layout import MISSING, Sheet, Style, figure, interval_notes, shorten
from fsbench.scores.estimate import Estimate
from fsbench.scores.trivial import TRIVIAL

JOINT = " · "
"""Stands between the parts of a block's title."""
COMFORTABLE, LEAST = 24, 12
"""Characters for a name: columns are left out for the first, and names are never shortened below the second."""


def side_by_side(blocks: Sequence[Block], width: int | None = None) -> Sheet | None:
    """Lay out the scores of every method under every test, a row for each pair; None of one test.

    A row has the mean over folds; a method without one has a row for each fold.

    Args:
        blocks: a table for each test.
        width: characters that a line may take as text. Scores after the first are left out, and names shortened, where
            they do not fit; None: all stands there.
    """
    shared, tests = _parts([block.title for block in blocks])
    if len(set(tests)) < 2:
        return None
    metrics = list(dict.fromkeys(metric for block in blocks for metric in block.metrics))
    rows = [(block, test, row) for block, test in zip(blocks, tests, strict=True) for row in _whole_rows(block)]
    order = {name: number for number, name in enumerate(dict.fromkeys(row.method for *_, row in rows))}
    rows.sort(key=lambda each: order[each[2].method])  # stable: tests stay in their order
    names = [_name(block, row) for block, _, row in rows]
    has_folds = any(row.fold not in ("all", "mean") for *_, row in rows)
    cells = [
        [
            name,
            test,
            *[row.fold] * has_folds,
            *(_score(row.scores.get(metric), metric, metric == block.metrics[0]) for metric in metrics),
        ]
        for name, (block, test, row) in zip(names, rows, strict=True)
    ]
    head = ["method", "test", *["fold"] * has_folds, *metrics]
    left_out: list[str] = []
    words = 2 + has_folds
    if width is not None:
        longest = [max(map(len, each)) for each in (names, tests)]
        while len(head) > words + 1 and _room(head, cells, width) < sum(min(each, COMFORTABLE) for each in longest):
            left_out.insert(0, head.pop())
            cells = [line[:-1] for line in cells]
        room = max(_room(head, cells, width), 2 * LEAST)
        name_width = max(min(longest[0], room - min(longest[1], COMFORTABLE)), LEAST)
        short, tested = shorten(names, (name_width,)), shorten(tests, (max(room - name_width, LEAST),))
        cells = [[short[line[0]], tested[line[1]], *line[2:]] for line in cells]
    scores = [row.scores[block.metrics[0]] for block, _, row in rows if block.metrics[0] in row.scores]
    notes = ["the test is a column here, and no rank or difference goes across tests"]
    notes += [f"no room for {', '.join(left_out)}: the table of each test has them"] * bool(left_out)
    title = JOINT.join([*shared, f"{len({block.title for block in blocks})} tests side by side"])
    return Sheet(title, [("", [head, *cells])], [*notes, *interval_notes(scores, metrics[:1])], {0: Style(words=words)})


def _parts(titles: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the parts that all titles share, and the others of each title in one text.

    Tables of one test whose runs saw other images have the same title, and are numbered where there are other tests.
    """
    split = [title.split(JOINT) for title in titles]
    shared = [part for part in split[0] if all(part in parts for parts in split)]
    others = [JOINT.join(part for part in parts if part not in shared) for parts in split]
    if len(set(others)) == 1:
        return shared, others
    numbered = [f"{words}, table {others[:n].count(words) + 1}" for n, words in enumerate(others)]
    return shared, [many if others.count(one) > 1 else one for one, many in zip(others, numbered, strict=True)]


def _name(block: Block, row: Row) -> str:
    """Return a method's name with the mark of results that were handed in; signs of cards are of one table alone."""
    return row.method + block.marks.get(row.method, "").removeprefix(block.signs.get(row.method, ""))


def _whole_rows(block: Block) -> list[Row]:
    """Return the row of the mean of each method that has one, and all rows of the others."""
    rows = [row for row in block.rows if row.method not in TRIVIAL]
    means = {row.method for row in rows if row.fold == "mean"}
    return [row for row in rows if row.fold == "mean" or row.method not in means]


def _score(score: Estimate | None, metric: str, is_first: bool) -> str:
    """Write the score that ranks in its test with its interval, and others without."""
    if score is None or is_first:
        return figure(score, metric) if score is not None else MISSING
    return f"{score.value:.{metric_named(metric).digits()}f}"


def _room(head: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return the characters that the other columns leave for the names of methods and tests."""
    columns = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    return width - sum(columns[2:]) - 2 * (len(columns) - 1)
