"""Tables of scores, or of differences, by draw of a test: each draw, their mean and their standard deviation."""

from collections.abc import Iterable, Mapping, Sequence

from fsbench.results.rows.draws import DRAW, SEED, mean_part, sd_part
from fsbench.results.rows.row import DRAWS, MEAN, ResultRow
from fsbench.results.table import METHOD, Cell, Column, Form, Table, Value

MEANINGS = {
    DRAW: "by draw of the supports: the same queries with other supports",
    SEED: "by test seed: other episodes of the same images",
}


def draw_tables(rows: Iterable[ResultRow], metrics: Sequence[str], marks: Mapping[str, str] = {}) -> list[Table]:
    """Return a table for each kind of draws that the rows are about; none if they are about none.

    Args:
        rows: scores, or differences, of which those of draws are taken.
        metrics: names of the scores, in the order of lines.
        marks: {method: text behind its name}.
    """
    drawn = [row for row in rows if row.part_kind == DRAWS and row.metric in metrics]
    means = {(row.method, row.minus) for row in drawn if row.fold == MEAN}
    shown = [row for row in drawn if row.fold == MEAN or (row.method, row.minus) not in means]
    tables = []
    for kind in MEANINGS:
        lines: dict[tuple[str, str, str, str], dict[str, ResultRow]] = {}
        for row in sorted(shown, key=lambda row: metrics.index(row.metric)):
            if kind in row.part:
                lines.setdefault((row.metric, row.method, row.minus, row.fold), {})[row.part] = row
        if lines:
            tables.append(_table(kind, lines, marks))
    return tables


def _table(
    kind: str, lines: Mapping[tuple[str, str, str, str], Mapping[str, ResultRow]], marks: Mapping[str, str]
) -> Table:
    mean, sd = mean_part(kind), sd_part(kind)
    draws = dict.fromkeys(part for own in lines.values() for part in own if part not in (mean, sd))

    def cells(part: str, has_ends: bool = False) -> list[Value]:
        rows = [own.get(part) for own in lines.values()]
        return [
            Cell() if row is None else Cell(row.estimate.value, row.estimate if has_ends else None, metric=row.metric)
            for row in rows
        ]

    metrics, methods, minus, folds = zip(*lines, strict=True)
    are_differences = any(minus)
    name = Column("first", Form.NAME) if are_differences else METHOD
    columns: list[tuple[Column, Sequence[Value]]] = [(name, [Cell(one, mark=marks.get(one, "")) for one in methods])]
    if are_differences:
        columns.append((Column("second", Form.NAME), minus))
    if len(set(metrics)) > 1:
        columns.append((Column("metric"), metrics))
    if len(set(folds)) > 1:
        columns.append((Column("fold"), folds))
    form = Form.DIFFERENCE if are_differences else Form.SCORE
    columns += [(Column(part.removeprefix("test "), form, rank=2), cells(part)) for part in draws]
    columns += [
        (Column(f"mean of {len(draws)}", form), cells(mean)),
        (Column(f"sd of {len(draws)}", Form.SCORE), cells(sd)),
        (Column("other draws", Form.INTERVAL, rank=1), cells(mean, has_ends=True)),
    ]
    only = f"{metrics[0]} " * (len(set(metrics)) == 1)
    return Table.from_columns(*columns, caption=f"{only}{MEANINGS[kind]}")
