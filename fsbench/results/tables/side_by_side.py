"""Methods under several tests in one table, which has the test as a column: nothing is ranked across tests."""

from collections.abc import Sequence

from fsbench.results.rows.draws import SEED
from fsbench.results.rows.row import ALL, MEAN
from fsbench.results.table import METHOD, Cell, Column, Form, Line, Sheet, Table, score_cell
from fsbench.results.tables.blocks import Block

JOINT = " · "
"""Stands between the parts of a block's title."""


def side_by_side(blocks: Sequence[Block]) -> Sheet | None:
    """Lay out every method's scores on every test, a line for each method and test; None for a single test.

    Seeds of one test are its draws, which have a table of their own.

    A line has the mean over folds; a method without a mean has a line for each fold. Only the first score of a test, by
    which it ranks methods, has its interval.

    Args:
        blocks: the scores of each test.
    """
    shared, tests = _parts([block.title for block in blocks])
    if len(set(tests)) < 2 or all(words.startswith(SEED) for words in tests):
        return None
    metrics = list(dict.fromkeys(metric for block in blocks for metric in block.metrics))
    keys = [(block, test, line) for block, test in zip(blocks, tests, strict=True) for line in block.whole_lines]
    order = {name: number for number, name in enumerate(dict.fromkeys(method for *_, (method, _) in keys))}
    keys.sort(key=lambda each: order[each[2][0]])  # stable: tests stay in their order
    has_folds = any(fold not in (ALL, MEAN) for *_, (_, fold) in keys)
    first, *others = metrics
    columns = [
        METHOD,
        Column("test", Form.NAME),
        *[Column("fold")] * has_folds,
        Column(first, Form.FIGURE, metric=first),
    ]
    columns += [Column(name, Form.FIGURE, metric=name, rank=len(others) - n) for n, name in enumerate(others)]
    lines = []
    for block, test, line in keys:
        method, fold = line
        scores = [block.lines[line].get(metric) for metric in metrics]
        cells = [
            score_cell(score) if metric == block.metrics[0] or score is None else Cell(score.value)
            for metric, score in zip(metrics, scores, strict=True)
        ]
        # signs of cards are of one table alone
        mark = block.marks.get(method, "").removeprefix(block.signs.get(method, ""))
        lines.append(Line([Cell(method, mark=mark), Cell(test), *[Cell(fold)] * has_folds, *cells]))
    notes = ["Scores of different tests cannot be compared, so there are no ranks and no differences here"]
    title = JOINT.join([*shared, f"{len({block.title for block in blocks})} tests side by side"])
    return Sheet(title, [Table(columns, lines)], notes=notes)


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
