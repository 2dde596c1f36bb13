"""Lay out plans as sheets or JSON: of a request all its runs; of a grid what is to do, and the scores of variants."""

import json
from collections.abc import Iterable, Sequence

from fsbench.protocols.reading import metric_named
from fsbench.results.tables.layout import Grid, Sheet
from fsbench.runner.config.needs import distinct
from fsbench.runner.grid.plan import PlannedRun, State
from fsbench.runner.grid.spec import GridCell
from fsbench.runner.grid.summary import Summary

NOTES = (
    "cost: the median of earlier runs of the method, on their machine; ? where none tells (a trial tells no training)",
    "scores: mean over all folds of the data set, then mean ± standard deviation over all seeds of the grid",
)


def to_sheet(planned: Sequence[PlannedRun], results: Sequence[Summary], remarks: Sequence[str] = ()) -> Sheet:
    """Return the sheet of a grid: a line for each cell that is not done, one for each variant, and `remarks`."""
    states = [item.state for item in planned]
    named: tuple[State, ...] = ("done", "begun", "missing", "lacks files", "refused")
    shown = [state for state in named if state != "lacks files" or state in states]
    counted = ", ".join(f"{states.count(state)} {state}" for state in shown)
    options = ["options"] * (len({item.cell.options for item in planned}) > 1)
    parts = [("to do", _cells(planned, [*TASK, *options])), ("scores", _scores(results, [*TASK, *options]))]
    return Sheet(
        f"{len(planned)} cells: {counted}; left to do: {time_left(planned)}",
        [(caption, grid) for caption, grid in parts if len(grid) > 1],
        [*missing_lines(planned), *NOTES, *absent_scores(results), *remarks],
    )


def request_sheet(planned: Sequence[PlannedRun], runs: str) -> Sheet:
    """Return the sheet of a request's plan: a line for each run, what is missing, and where results will be."""
    states = [item.state for item in planned]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    several = len({item.cell.request.protocol for item in planned}) > 1
    protocol = ["protocol"] if several else []
    grid: Grid = [["method", "dataset", *protocol, "fold", "state", "time", "memory", "known from"]]
    folders = []
    for number, item in enumerate(planned, 1):
        cell = item.cell
        known = ["–", "–", "–"] if item.state == "done" else _cost(item)
        own = [str(cell.request.protocol)] if several else []
        grid.append([cell.method, cell.request.dataset, *own, str(cell.fold), item.state, *known])
        if item.folder is not None:
            folders.append(f"[{number}] {'is' if item.state == 'done' else 'writes to'} {item.folder}")
    if any(item.lacks for item in planned):
        folders.append(f"what lacks files writes to {runs}/, to folders whose names follow from these files")
    if any(item.folder is None and item.state == "missing" for item in planned):
        folders.append(
            f"what is tested on images that are still to be drawn writes to {runs}/, to folders whose names follow "
            "from them"
        )
    refused = list(dict.fromkeys(f"refused: {item.refused}" for item in planned if item.refused))
    runs_counted = f"{len(planned)} run{'s' * (len(planned) != 1)}: {counted}"
    title = f"{runs_counted}; left to do: {time_left(planned)}; nothing was run"
    return Sheet(title, [("", grid)], [*missing_lines(planned), *refused, *folders, NOTES[0]])


def _cells(planned: Sequence[PlannedRun], task: Sequence[str]) -> Grid:
    grid: Grid = [["method", "dataset", "fold", *task, "seed", "state", "time", "memory", "known from"]]
    for item in planned:
        if item.state == "done":
            continue
        cell = item.cell
        known = ["?", "?", item.refused] if item.refused else _cost(item)
        seed = "–" if cell.request.seed is None else str(cell.request.seed)
        grid.append([cell.method, cell.request.dataset, str(cell.fold), *_task(cell, task), seed, item.state, *known])
    return grid


def _cost(item: PlannedRun) -> list[str]:
    """Return a run's estimated time and memory, and what they are known from."""
    if item.cost is None:
        return ["?", "?", "no run like it"]
    return [duration(item.cost.seconds), f"{item.cost.peak_mib:,.0f} MiB", item.cost.source]


def missing_lines(planned: Iterable[PlannedRun]) -> list[str]:
    """Return a line for each thing that runs lack, with the command that brings it."""
    return [f"missing: {thing}" for thing in distinct(thing for item in planned for thing in item.lacks)]


TASK = ("way", "shot", "setting", "protocol")


def _task(cell: GridCell, names: Sequence[str]) -> list[str]:
    values = vars(cell.request) | {"options": cell.options, "protocol": cell.protocol}
    return ["–" if values[name] is None else str(values[name]) for name in names]


def _scores(results: Sequence[Summary], task: Sequence[str]) -> Grid:
    metrics = list(dict.fromkeys(item.metric for item in results))
    grid: Grid = [["method", "dataset", *task, "folds", "seeds done", *metrics]]
    by_variant: dict[tuple[str, ...], list[Summary]] = {}
    for item in results:
        by_variant.setdefault(item.variant.variant, []).append(item)
    for items in by_variant.values():
        first = items[0]
        cell = first.variant
        folds, done = f"{first.folds} of {first.of or '?'}", f"{first.done} of {first.wanted}"
        grid.append([cell.method, cell.request.dataset, *_task(cell, task), folds, done, *map(_score, items)])
    return grid


def absent_scores(results: Iterable[Summary]) -> list[str]:
    """Return a line for each reason why scores are absent, with what helps."""
    reasons: dict[str, dict[str, None]] = {}
    for item in results:
        if item.value is None:
            cell = item.variant
            reasons.setdefault(_absence(item), {})[f"{cell.method} on {cell.request.dataset}"] = None
    return [f"–: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _absence(item: Summary) -> str:
    """Return why a summary has no value."""
    if item.of is not None and item.folds < item.of:
        return (
            f"a score is the mean over all {item.of} folds of the data set, and the grid names {item.folds}; name all "
            "in its file, or read the folds one by one: fsbench table <runs> --by fold"
        )
    if item.done < item.wanted:
        return f"{item.done} of {item.wanted} seeds are done; --run runs what is left"
    return f"its runs have no {item.metric}"


def _score(item: Summary) -> str:
    n = metric_named(item.metric).digits()
    if item.value is None:
        return "–"
    deviation = "" if item.deviation is None else f" ± {item.deviation:.{n}f}"
    return f"{item.value:.{n}f}{deviation}"


def unfinished(planned: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Return the runs that are still to be made, now or when what they lack is there."""
    return [item for item in planned if item.state not in ("done", "refused")]


def time_left(planned: Sequence[PlannedRun]) -> str:
    """Return the estimated time of what is not done, and the number of cells that nothing is known of."""
    left = unfinished(planned)
    unknown = sum(item.cost is None for item in left)
    known = duration(sum(item.cost.seconds for item in left if item.cost is not None))
    return f"{known}{f' and {unknown} cells of unknown cost' if unknown else ''}"


def duration(seconds: float) -> str:
    """Write a time in words: "3 h 05 min", "12 min", "40 s"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def as_json(planned: Sequence[PlannedRun], results: Sequence[Summary], remarks: Sequence[str]) -> str:
    """Return as JSON all cells, the scores of every variant with those of each seed, and `remarks`."""
    cells = [item.as_dict() for item in planned]
    scores = [vars(item) | {"variant": item.variant.as_dict()} for item in results]
    return json.dumps({"cells": cells, "scores": scores, "notes": list(remarks)}, indent=2) + "\n"
