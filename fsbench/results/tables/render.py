"""Blocks in every format: as sheets, and all that they hold as CSV and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from fsbench.results.rows.row import ALL, CLASS, MEAN, SIZE, ResultRow, scores_of
from fsbench.results.sheets.data import as_json, csv_text, decimal
from fsbench.results.sheets.formats import SHEETS, write_as
from fsbench.results.sheets.text import text
from fsbench.results.tables.blocks import Block, Line
from fsbench.results.tables.breakdowns import to_sheet
from fsbench.results.tables.side_by_side import side_by_side
from fsbench.scores.estimate import Estimate


def render(blocks: list[Block], form: str, by: Sequence[str] = (), width: int | None = None, wrap: bool = False) -> str:
    """Write blocks as `write_as` does, with the breakdowns `by` of `to_sheet`.

    Where there are several tests, one more table has the test as a column. CSV and JSON name it in every row or block.
    """
    if form == "json":
        return as_json([_values(block) for block in blocks])
    written = write_as(form, blocks, lambda block, room: to_sheet(block, by, room), _csv, width, wrap)
    together = side_by_side(blocks, width if form == "text" else None) if form in SHEETS else None
    if together is None:
        return written
    last = text([together], width, wrap) if form == "text" else SHEETS[form]([together])
    return f"{written}\n{last}"


COLUMNS = (
    "block", "method", "fold", "part", "metric", "value", "low", "high", "pairs", "episodes", "run", "notes", "card",
    "holds for", "query images",
)  # fmt: skip


def _csv(blocks: Sequence[Block]) -> str:
    return csv_text([COLUMNS, *(line for block in blocks for line in _lines(block))])


def _lines(block: Block) -> Iterator[list[object]]:
    """List the numbers of a block under `COLUMNS`, with the block's notes and the method's card.

    Of the part "reported", run is the source and the notes are the verdict.
    """
    notes = "; ".join([*block.lead, *block.warnings, *block.notes])
    cards = {name: "; ".join(f"{k}: {v}" for k, v in card.words.items()) for name, card in block.cards.items()}

    def numbers(score: Estimate) -> list[str]:
        return [decimal(value) for value in (score.value, score.low, score.high)]

    def bearing(score: Estimate) -> list[object]:
        return [str(score.scope) if score.has_interval else "", score.queries or ""]

    parts = {kind: _parts(block, kind) for kind in (SIZE, CLASS)}
    for (method, fold), scores in block.lines.items():
        run = block.runs[method, fold]
        start, end = [block.title, method, fold], [run, notes, cards.get(method, "")]
        for metric, cost in zip(
            ("trainable parameters", "episodes/s", "peak memory MiB"), _costs(block, (method, fold)), strict=True
        ):
            if cost is not None:
                yield [*start, ALL, metric, f"{cost:.10g}", *[""] * 4, *end, "", ""]
        for metric, score in scores.items():
            yield [*start, ALL, metric, *numbers(score), "", "", *end, *bearing(score)]
        for part, rows in (parts[SIZE].get((method, fold), {}) | parts[CLASS].get((method, fold), {})).items():
            counts = [rows[0].pairs, rows[0].episodes]
            for metric, score in scores_of(rows).items():
                yield [*start, part, metric, *numbers(score), *counts, *end, *bearing(score)]
    for item in block.published:
        r = item.reported
        verdict = "; ".join([f"{r.stated}: {item.verdict}", *item.caveats])
        start = [block.title, item.method, item.fold]
        end = [r.source, verdict, cards.get(item.method, "")]
        yield [*start, "reported", item.metric, f"{r.value:.{r.digits}f}", *[""] * 4, *end, "", ""]


def _costs(block: Block, line: Line) -> tuple[int | None, float | None, float | None]:
    """Return trainable parameters, episodes a second and peak MiB of a line's run; None where they are not known."""
    cost = block.costs.get(line)
    return (cost.trainable_parameters, cost.episodes_per_second, cost.peak_mib) if cost else (None, None, None)


def _parts(block: Block, kind: str) -> dict[Line, dict[str, list[ResultRow]]]:
    """Return the rows of each line by their part; a mean has the classes of its folds."""
    found = block.parts(kind)
    for method, fold in block.lines if kind == CLASS else ():
        if fold == MEAN:
            own = [parts for (name, _), parts in found.items() if name == method]
            found[method, MEAN] = {name: rows for parts in own for name, rows in parts.items()}
    return found


def _values(block: Block) -> dict[str, Any]:
    """Return what JSON says of a block: its fields, with its rows by method and fold."""
    kept = {one.name: getattr(block, one.name) for one in fields(block) if one.name not in ("costs", "blind")}
    sizes, classes = (
        {
            line: {
                name: {"pairs": rows[0].pairs, "episodes": rows[0].episodes, "scores": scores_of(rows)}
                for name, rows in parts.items()
            }
            for line, parts in _parts(block, kind).items()
        }
        for kind in (SIZE, CLASS)
    )
    kept["rows"] = [
        {
            "method": line[0],
            "fold": line[1],
            "scores": scores,
            "by_size": sizes.get(line, {}),
            "by_class": classes.get(line, {}),
            **dict(zip(("trainable", "episodes_per_second", "peak_mib"), _costs(block, line), strict=True)),
            "run": block.runs[line],
            "sees_supports": line[0] not in block.blind,
        }
        for line, scores in block.lines.items()
    ]
    return kept
