"""A score by draw of the supports: a line for each method and fold, a column for each draw and for their spread."""

from fsbench.results.rows.draws import LUCK, THESE_IMAGES
from fsbench.results.rows.row import DRAWS, scores_of
from fsbench.results.table import METHOD, Cell, Column, Form, Table, Value
from fsbench.results.tables.blocks import Block


def by_draw(block: Block) -> Table:
    """Return a table of the first score by draw; no lines if the test's queries do not share supports."""
    metric, lines = block.metrics[0], block.parts(DRAWS)
    scores = {
        line: {part: found for part, rows in parts.items() if (found := scores_of(rows).get(metric))}
        for line, parts in lines.items()
    }
    scores = {line: parts for line, parts in scores.items() if parts}
    draws = list(dict.fromkeys(part for parts in scores.values() for part in parts if part.isdecimal()))
    columns: list[tuple[Column, list[Value]]] = [
        (METHOD, [Cell(method, mark=block.marks.get(method, "")) for method, _ in scores])
    ]
    if len({fold for _, fold in scores}) > 1:
        columns.append((Column("fold"), [fold for _, fold in scores]))
    for draw in draws:
        head = Column(f"draw {draw}", Form.SCORE, metric=metric, rank=1)
        columns.append((head, [own.get(draw) for own in scores.values()]))
    columns.append((Column(LUCK, Form.NUMBER), [own[LUCK].value for own in scores.values()]))
    caption = f"{metric} of each draw of the supports. {LUCK}: standard deviation over draws"
    if any(THESE_IMAGES in own for own in scores.values()):
        these = [own.get(THESE_IMAGES) for own in scores.values()]
        columns.append((Column(THESE_IMAGES, Form.INTERVAL, metric=metric), [*these]))
        caption += f". {THESE_IMAGES}: 95 % interval of the mean for other supports, same queries"
    return Table.from_columns(*columns, caption=caption)
