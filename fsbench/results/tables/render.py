"""Blocks in every format: as sheets, and all that they hold as CSV and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from fsbench.results.rows.row import CLASS, COLUMNS, DRAWS, MEAN, REPORTED, SIZE, ResultRow, rows_frame, scores_of
from fsbench.results.sheets.data import as_json, csv_text
from fsbench.results.sheets.formats import write_sheets
from fsbench.results.table import Sheet
from fsbench.results.tables.blocks import Block, Line
from fsbench.results.tables.breakdowns import to_sheet
from fsbench.results.tables.columns import COSTS
from fsbench.results.tables.side_by_side import side_by_side
from fsbench.scores.estimate import Estimate, Scope
from fsbench.scores.trainings import TrainedEstimate


def sheets(blocks: Sequence[Block], by: Sequence[str] = ()) -> list[Sheet]:
    """Lay out a sheet for each test's scores, and one with all tests side by side if there are several."""
    together = side_by_side(blocks)
    return [*(to_sheet(block, by) for block in blocks), *([together] if together else [])]


def render(blocks: list[Block], form: str, by: Sequence[str] = (), width: int | None = None, wrap: bool = False) -> str:
    """Write the scores of several tests in a format, with the breakdowns `by`; CSV and JSON hold all breakdowns."""
    if form == "json":
        return as_json([_values(block) for block in blocks])
    if form == "csv":
        return csv_text([[*COLUMNS, "notes", "card"], *(line for block in blocks for line in _lines(block))])
    return write_sheets(form, sheets(blocks, by), width, wrap)


def _lines(block: Block) -> Iterator[list[object]]:
    """List the rows of a block under `COLUMNS`, with the block's notes and the method's card behind each."""
    notes = "; ".join([*block.lead, *block.warnings, *block.notes])
    cards = {name: "; ".join(f"{k}: {v}" for k, v in card.words.items()) for name, card in block.cards.items()}
    for row in rows_frame([*block.shown_rows, *_costs(block), *_reported(block)]).iter_rows(named=True):
        yield [*("" if cell is None else cell for cell in row.values()), notes, cards.get(row["method"], "")]


def _costs(block: Block) -> Iterator[ResultRow]:
    """Return what runs cost as rows, named as their columns are."""
    for (method, fold), of_runs in block.costs.items():
        for each in COSTS:
            if (value := each.value(of_runs)) is not None:
                run = block.runs.get((method, fold), "")
                yield ResultRow(block.title, method, fold, each.name, Estimate(value, scope=Scope.NONE), run=run)


def _reported(block: Block) -> Iterator[ResultRow]:
    """Return reported scores as rows: the part is the source, and the rule says what they were made under."""
    for item in block.published:
        rule = "; ".join([f"{item.reported.stated}: {item.verdict}", *item.caveats])
        value, source = Estimate(item.reported.value, scope=Scope.NONE), item.reported.source
        yield ResultRow(
            block.title, item.method, item.fold, item.metric, value, part_kind=REPORTED, part=source, rule=rule
        )


def _parts(block: Block, kind: str) -> dict[Line, dict[str, list[ResultRow]]]:
    """Return the rows of each line by their part; a mean has the classes of its folds."""
    found = block.parts(kind)
    for method, fold in block.lines if kind == CLASS else ():
        if fold == MEAN:
            own = [parts for (name, _), parts in found.items() if name == method]
            found[method, MEAN] = {name: rows for parts in own for name, rows in parts.items()}
    return found


def _of_trainings(found: TrainedEstimate) -> dict[str, Any]:
    """Return what JSON says of a mean over trainings."""
    return {
        "trainings": found.numbers[0],
        "mean": found.these.value,
        "sd_trainings": found.spreads[0].sd,
        "interval": found.these,
        "interval_other_trainings": found.other,
        "df_trainings": found.df,
        "rough": found.is_rough,
    }


def _values(block: Block) -> dict[str, Any]:
    """Return what JSON says of a block: its fields, with its rows by method and fold."""
    kept = {one.name: getattr(block, one.name) for one in fields(block) if one.name not in ("costs", "seeds", "blind")}
    kept["cards"] = {
        name: {**card.entries, "handed_in": card.handed_in, "stated": card.stated} for name, card in block.cards.items()
    }
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
    draws = block.parts(DRAWS)
    kept["rows"] = [
        {
            "method": line[0],
            "fold": line[1],
            "by_draw": {part: scores_of(rows) for part, rows in draws.get(line, {}).items()},
            "scores": scores,
            "trainings": {metric: _of_trainings(found) for metric, found in block.trained.get(line, {}).items()},
            "by_size": sizes.get(line, {}),
            "by_class": classes.get(line, {}),
            **{each.entry: each.value(block.costs.get(line, ())) for each in COSTS},
            "run": block.runs[line],
            "sees_supports": line[0] not in block.blind,
        }
        for line, scores in block.lines.items()
    ]
    return kept
