"""Plan of a request that runs nothing: which runs exist, which would be made, what they lack, time, memory, folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fsbench.config.compose import compose, split_arguments
from fsbench.config.needs import Missing, distinct, missing_files
from fsbench.config.request import Request
from fsbench.grid.estimate import Estimates
from fsbench.grid.layout import NOTES, duration, time_left
from fsbench.grid.plan import PlannedRun, plan
from fsbench.grid.spec import GridCell
from fsbench.records.record import find_records
from fsbench.tables.layout import Grid, Sheet


@dataclass(frozen=True)
class DryRun:
    """A run of a request: what is known of it, the files that it lacks, and whether it is done and made again."""

    planned: PlannedRun
    missing: tuple[Missing, ...] = ()
    repeats: bool = False

    @property
    def state(self) -> str:
        """As in a grid; "lacks files" where something is absent, so that its folder is not known; "repeated"."""
        return "lacks files" if self.missing else "repeated" if self.repeats else self.planned.state


def dry_run(*requests: Request) -> list[DryRun]:
    """Look every run of requests up and write nothing but a drawn data set that is not there yet.

    A run that lacks nothing is composed as it would be made, for its folder follows from that.

    Args:
        requests: of one folder of runs, which is read once.
    """
    runs = Path(requests[0].runs)
    known = find_records(runs, []) if runs.is_dir() else []
    estimates = Estimates(known)
    found = []
    for cell, is_forced in ((cell, request.force) for request in requests for cell in _cells(request)):
        missing = tuple(missing_files(cell.request, _values(cell)))
        if missing:
            found.append(DryRun(PlannedRun(cell, None, cost=estimates.estimate(cell)), missing))
        else:
            (planned,) = plan([cell], runs, recheck=True, takes_notes=False, known=known)
            repeats = is_forced and planned.record is not None
            if repeats:
                planned = replace(planned, record=None, cost=estimates.estimate(cell))
            found.append(DryRun(planned, repeats=repeats))
    return found


def to_sheet(found: Sequence[DryRun], runs: str) -> Sheet:
    """Return the sheet of a plan: a line for each run, what is missing, and where results will be."""
    states = [item.state for item in found]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    several = len({item.planned.cell.request.protocol for item in found}) > 1
    protocol = ["protocol"] if several else []
    grid: Grid = [["method", "dataset", *protocol, "fold", "state", "time", "memory", "known from"]]
    folders = []
    for number, item in enumerate(found, 1):
        cell, cost = item.planned.cell, item.planned.cost
        known = ["–", "–", "–"] if item.state == "done" else ["?", "?", "no run like it"]
        if cost is not None:
            known = [duration(cost.seconds), f"{cost.peak_mib:,.0f} MiB", cost.source]
        own = [str(cell.request.protocol)] if several else []
        grid.append([cell.method, cell.request.dataset, *own, str(cell.fold), item.state, *known])
        if item.planned.folder is not None:
            folders.append(f"[{number}] {'is' if item.state == 'done' else 'writes to'} {item.planned.folder}")
    if any(item.missing for item in found):
        folders.append(f"what lacks files writes to {runs}/, to folders whose names follow from these files")
    refused = list(dict.fromkeys(f"refused: {item.planned.refused}" for item in found if item.planned.refused))
    missing = [f"missing: {thing}" for thing in distinct(thing for item in found for thing in item.missing)]
    left = time_left([item.planned for item in found])
    title = f"{len(found)} run{'s' * (len(found) != 1)}: {counted}; left to do: {left}; nothing was run"
    return Sheet(title, [("", grid)], [*missing, *refused, *folders, NOTES[0]])


def as_values(found: Sequence[DryRun]) -> list[dict[str, Any]]:
    """Return the plan as plain values for JSON."""
    return [
        item.planned.cell.as_dict()
        | {"state": item.state, "refused": item.planned.refused, "missing": [str(thing) for thing in item.missing]}
        | {"folder": None if item.planned.folder is None else str(item.planned.folder)}
        | {"cost": None if item.planned.cost is None else vars(item.planned.cost)}
        for item in found
    ]


def _cells(request: Request) -> list[GridCell]:
    """Return a cell for each method and fold; arguments are written as `--key=value`."""
    given = tuple(f"--{key}={value}" for key, value in split_arguments(request.extra) if key and value is not None)
    pairs = [(method, fold) for method in dict.fromkeys(request.methods) for fold in dict.fromkeys(request.folds)]
    common = replace(request, extra=given, force=False)
    return [GridCell(replace(common, methods=(method,), folds=(fold,))) for method, fold in pairs]


def _values(cell: GridCell) -> Mapping[str, Any]:
    """Return the settings of a cell's run, as far as files and arguments state them."""
    return compose(cell.request.arguments(cell.request.methods[0], cell.fold)).values
