"""Methods under several tests in one table, which has the test as a column: nothing is ranked across tests."""

from collections.abc import Sequence

from fsbench.results.rows.row import ALL, MEAN
from fsbench.results.sheets.cells import figure, rounded
from fsbench.results.sheets.layout import Sheet, Style
from fsbench.results.sheets.legend import interval_notes
from fsbench.results.sheets.names import COMFORTABLE, LEAST, shorten
from fsbench.results.tables.blocks import Block
from fsbench.scores.estimate import Estimate

JOINT = " · "
"""Stands between the parts of a block's title."""


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
    lines = [(block, test, line) for block, test in zip(blocks, tests, strict=True) for line in block.whole_lines]
    order = {name: number for number, name in enumerate(dict.fromkeys(method for *_, (method, _) in lines))}
    lines.sort(key=lambda each: order[each[2][0]])  # stable: tests stay in their order
    names = [_name(block, method) for block, _, (method, _) in lines]
    has_folds = any(fold not in (ALL, MEAN) for *_, (_, fold) in lines)
    cells = [
        [
            name,
            test,
            *[line[1]] * has_folds,
            *(_score(block.lines[line].get(metric), metric, metric == block.metrics[0]) for metric in metrics),
        ]
        for name, (block, test, line) in zip(names, lines, strict=True)
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
    scores = [block.lines[line][block.metrics[0]] for block, _, line in lines if block.metrics[0] in block.lines[line]]
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


def _name(block: Block, method: str) -> str:
    """Return a method's name with the mark of results that were handed in; signs of cards are of one table alone."""
    return method + block.marks.get(method, "").removeprefix(block.signs.get(method, ""))


def _score(score: Estimate | None, metric: str, is_first: bool) -> str:
    """Write the score that ranks in its test with its interval, and others without."""
    return figure(score, metric) if score is None or is_first else rounded(score.value, metric)


def _room(head: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return the characters that the other columns leave for the names of methods and tests."""
    columns = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    return width - sum(columns[2:]) - 2 * (len(columns) - 1)
