"""Look up which runs of a grid are done, begun, missing or refused.

Where a cell's record is follows from its identity, for which the data set is read and the model built. That is done
once for each cell and noted in `<runs>/.grid/cells`, under a hash of everything that was asked for.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsbench.errors import FsbenchError, user_message
from fsbench.files import read_json, write_text
from fsbench.grid.estimate import CostEstimate, Estimates
from fsbench.grid.spec import GridCell
from fsbench.records.record import Record, find_records, read_record


@dataclass(frozen=True)
class PlannedRun:
    """A cell of a grid and its run.

    Attributes:
        cell: the cell.
        folder: where its record is or will be; None where it cannot be run.
        record: its record, if it is done.
        refused: why it cannot be run; empty if it can.
        cost: its estimated cost; None when unknown.
    """

    cell: GridCell
    folder: Path | None
    record: Record | None = None
    refused: str = ""
    cost: CostEstimate | None = None

    @property
    def state(self) -> str:
        if self.refused:
            return "refused"
        if self.record is not None:
            return "done"
        begun = self.folder is not None and (self.folder / "identity.json").is_file()
        return "begun" if begun else "missing"


def plan(
    cells: Sequence[GridCell],
    runs: Path,
    recheck: bool = False,
    progress: Callable[..., Any] = iter,
    takes_notes: bool = True,
    known: Sequence[Record] | None = None,
) -> list[PlannedRun]:
    """Look every cell up; one whose record is damaged is refused.

    Args:
        cells: the grid's cells.
        runs: folder of all runs.
        recheck: whether to look identities up again instead of trusting earlier notes.
        progress: wraps the loop over the cells.
        takes_notes: whether to note identities for the next time.
        known: the records in the folder, where they were read already.
    """
    if known is None:
        known = find_records(runs, []) if runs.is_dir() else []
    by_name = {record.path.name: record for record in known}
    estimates = Estimates(known)
    planned = []
    for cell in progress(cells):
        try:
            folder = run_folder(cell, runs, recheck, takes_notes)
            record = (by_name.get(folder.name) if folder.parent == runs else None) or read_record(folder)
        except FsbenchError as error:
            planned.append(PlannedRun(cell, None, refused=user_message(error).splitlines()[0]))
            continue
        planned.append(PlannedRun(cell, folder, record, cost=None if record else estimates.estimate(cell)))
    return planned


def run_folder(cell: GridCell, runs: Path, recheck: bool = False, takes_notes: bool = True) -> Path:
    """Return the folder of the cell's record; `recheck` trusts no earlier note, `takes_notes` leaves one.

    Raises FsbenchError when the cell cannot be built.
    """
    note = runs / ".grid" / "cells" / f"{cell.fingerprint(runs)}.json"
    name = None if recheck else _noted(note)
    if name is not None:
        return runs / name
    # heavy: only where it is called
    from fsbench.config.build import parse
    from fsbench.engine.experiment import Experiment  # with torch, which a grid whose cells are all known does not need

    folder = Experiment(parse(cell.arguments(runs))).folder
    if not takes_notes:
        return folder
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps({"folder": folder.name, "cell": cell.label}) + "\n")
    return folder


def _noted(note: Path) -> str | None:
    """Return the folder's name, or None where there is no note or a damaged one."""
    try:
        name = read_json(note, "record")["folder"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return name if isinstance(name, str) and name else None
