"""What `fsbench grid` shows: the cells and their cost, and the scores of what is done."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from fsbench.grid import GridCell
from fsbench.grid_plan import Planned
from fsbench.grid_scores import Summary
from fsbench.layout import Grid, Sheet
from fsbench.scores import digits

NOTES = (
    "cost: the median of earlier runs of the method, on their machine; ? where none tells (a trial tells no training)",
    "scores: mean over all folds of the data set, then mean ± standard deviation over all seeds of the grid; – until "
    "all are done, or where the grid lacks a fold",
)


def lay_out(planned: Sequence[Planned], found: Sequence[Summary], remarks: Sequence[str] = ()) -> Sheet:
    """A line per cell that is not done (done ones are counted), and a line per variant; `remarks` are of the runs."""
    states = [item.state for item in planned]
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("done", "begun", "missing", "refused"))
    options = ["options"] * (len({item.cell.options for item in planned}) > 1)
    parts = [("to do", _cells(planned, [*TASK, *options])), ("scores", _scores(found, [*TASK, *options]))]
    return Sheet(
        f"{len(planned)} cells: {counted}; left to do: {_total(planned)}",
        [(caption, grid) for caption, grid in parts if len(grid) > 1],
        [*NOTES, *remarks],
    )


def _cells(planned: Sequence[Planned], task: Sequence[str]) -> Grid:
    grid: Grid = [["method", "dataset", "fold", *task, "seed", "state", "time", "memory", "known from"]]
    for item in planned:
        if item.state == "done":
            continue
        cell, cost = item.cell, item.cost
        known = ["?", "?", item.refused or "no run like it"]
        if cost is not None:
            known = [duration(cost.seconds), f"{cost.peak_mib:,.0f} MiB", cost.source]
        seed = "–" if cell.seed is None else str(cell.seed)
        grid.append([cell.method, cell.dataset, str(cell.fold), *_task(cell, task), seed, item.state, *known])
    return grid


TASK = ("way", "shot", "setting", "protocol")


def _task(cell: GridCell, names: Sequence[str]) -> list[str]:
    return ["–" if value is None else str(value) for value in (getattr(cell, name) for name in names)]


def _scores(found: Sequence[Summary], task: Sequence[str]) -> Grid:
    metrics = list(dict.fromkeys(item.metric for item in found))
    grid: Grid = [["method", "dataset", *task, "folds", "seeds done", *metrics]]
    by_variant: dict[tuple[str, ...], list[Summary]] = {}
    for item in found:
        by_variant.setdefault(item.variant.variant, []).append(item)
    for items in by_variant.values():
        first = items[0]
        cell = first.variant
        folds, done = f"{first.folds} of {first.of or '?'}", f"{first.done} of {first.wanted}"
        grid.append([cell.method, cell.dataset, *_task(cell, task), folds, done, *map(_score, items)])
    return grid


def _score(item: Summary) -> str:
    n = digits(item.metric)
    if item.value is None:
        return "–"
    deviation = "" if item.deviation is None else f" ± {item.deviation:.{n}f}"
    return f"{item.value:.{n}f}{deviation}"


def _total(planned: Sequence[Planned]) -> str:
    left = [item for item in planned if item.state in ("missing", "begun")]
    unknown = sum(item.cost is None for item in left)
    known = duration(sum(item.cost.seconds for item in left if item.cost is not None))
    return f"{known}{f' and {unknown} cells of unknown cost' if unknown else ''}"


def duration(seconds: float) -> str:
    """ "3 h 05 min", "12 min", "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def as_json(planned: Sequence[Planned], found: Sequence[Summary], remarks: Sequence[str]) -> str:
    """All cells, the scores of every variant with those of each seed, and `remarks` on the runs."""
    cells = [
        asdict(item.cell)
        | {"state": item.state, "folder": item.folder and str(item.folder), "refused": item.refused}
        | {"cost": item.cost and asdict(item.cost)}
        for item in planned
    ]
    scores = [asdict(item) for item in found]
    return json.dumps({"cells": cells, "scores": scores, "notes": list(remarks)}, indent=2) + "\n"
