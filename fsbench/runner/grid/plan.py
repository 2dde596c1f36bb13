"""The plan of a request, a grid or a paper: which runs are done, begun or missing, and what the others lack.

Where a run's record is follows from its identity, for which the data set is read and the model built. That is done once
for each cell of a grid and noted in `<runs>/.grid/cells`, under a hash of everything that was asked for. A note holds
as long as the files that it was made with are as they were: images, label maps, lists, whatever else was read for it;
they are listed in `<runs>/.grid/files`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from fsbench.base.errors import FsbenchError, user_message
from fsbench.base.files import fingerprint, read_json, write_text
from fsbench.data.dataset import Drawn
from fsbench.data.file_digests import states_sha256
from fsbench.records.record import Record, find_records, read_record
from fsbench.records.run_directory import is_finished
from fsbench.runner.config.compose import Configuration, setting, value_at
from fsbench.runner.config.needs import Missing, missing_files
from fsbench.runner.engine import forks
from fsbench.runner.grid.estimate import CostEstimate, Estimates
from fsbench.runner.grid.spec import GridCell

State = Literal["done", "repeated", "begun", "missing", "waits", "lacks files", "refused"]


@dataclass(frozen=True)
class PlannedRun:
    """A run that was asked for, and what is known of it.

    Attributes:
        cell: what was asked for.
        folder: where its record is or will be; None where that does not follow yet.
        record: its record, if it is done.
        error: why it cannot be made.
        lacks: files that it needs and that are absent.
        waits: whether it starts from the checkpoint of a training that is not done.
        cost: its estimated cost; None when unknown, or when it is done.
        configuration: its configuration, if that was needed to say so.
    """

    cell: GridCell
    folder: Path | None
    record: Record | None = None
    error: FsbenchError | None = None
    lacks: tuple[Missing, ...] = ()
    waits: bool = False
    cost: CostEstimate | None = None
    configuration: Configuration | None = None

    @property
    def state(self) -> State:
        if self.error is not None:
            return "refused"
        if self.record is not None:
            return "repeated" if self.cell.request.force else "done"
        if self.lacks or self.waits:
            return "lacks files" if self.lacks else "waits"
        begun = self.folder is not None and (self.folder / "identity.json").is_file()
        return "begun" if begun else "missing"

    @property
    def is_ready(self) -> bool:
        """True if the run can be made now, and is to be."""
        return self.state in ("missing", "begun", "repeated")

    @property
    def refused(self) -> str:
        """Why the run cannot be made, in a line; empty if it can."""
        return "" if self.error is None else user_message(self.error).splitlines()[0]

    @property
    def obstacle(self) -> str:
        """Why the run cannot be made, or what it lacks, in a line; empty if it can be made."""
        return self.refused or "; ".join(str(thing) for thing in self.lacks)

    def as_dict(self) -> dict[str, Any]:
        """Return what was asked for and what is known as plain values."""
        return self.cell.as_dict() | {
            "state": self.state,
            "folder": None if self.folder is None else str(self.folder),
            "refused": self.refused,
            "missing": [str(thing) for thing in self.lacks],
            "cost": None if self.cost is None else vars(self.cost),
        }


class Planner:
    """Looks runs up in one folder of runs, whose records are read at most once.

    Args:
        runs: the folder of all runs.
        recheck: whether to look identities up again instead of trusting earlier notes.
        takes_notes: whether to note identities for the next time.
        draws: whether a data set that is drawn is drawn where it is not there yet. Otherwise its run is one of which
            the folder does not follow yet; without notes nothing is written then.
    """

    def __init__(self, runs: Path, recheck: bool = False, takes_notes: bool = True, draws: bool = True):
        self.runs = runs
        self.recheck = recheck
        self.takes_notes = takes_notes
        self.draws = draws

    @cached_property
    def estimates(self) -> Estimates:
        """Estimates from the records in the folder."""
        return Estimates(find_records(self.runs, []) if self.runs.is_dir() else [])

    def plan(self, cell: GridCell) -> PlannedRun:
        """Look up a run and estimate its cost; one that cannot be built, or whose record is damaged, is refused."""
        item = self.look_up(cell)
        return item if item.state in ("done", "refused") else replace(item, cost=self.estimates.estimate(cell))

    def look_up(self, cell: GridCell, on_this_machine: bool = False) -> PlannedRun:
        """Look up a run without its cost. What it lacks is looked up where it has no record.

        Args:
            cell: the run.
            on_this_machine: see `run_folder`.
        """
        configuration = None
        try:
            folder = None if self.recheck else _noted_folder(cell, self.runs)
            record = None if folder is None else finished_record(folder)
            if record is None:
                configuration = cell.configuration(self.runs)
                lacks = tuple(missing_files(cell.request, configuration.values))
                if lacks or (not self.draws and _is_undrawn(configuration.values)):
                    return PlannedRun(cell, folder, lacks=lacks, configuration=configuration)
            if configuration is not None and folder is None:
                folder = run_folder(cell, self.runs, self.takes_notes, on_this_machine, configuration)
                record = finished_record(folder)
        except FsbenchError as error:
            return PlannedRun(cell, None, error=error)
        return PlannedRun(cell, folder, record, configuration=configuration)


def plan(
    cells: Sequence[GridCell], runs: Path, recheck: bool = False, progress: Callable[..., Any] = iter
) -> list[PlannedRun]:
    """Look every cell of a grid up.

    Args:
        cells: the cells.
        runs, recheck: see `Planner`.
        progress: wraps the loop over the cells.
    """
    planner = Planner(runs, recheck)
    return [planner.plan(cell) for cell in progress(cells)]


def finished_record(folder: Path) -> Record | None:
    """Return the record in `folder`; None where its run is not finished. Raises RecordError where it is damaged."""
    return read_record(folder) if is_finished(folder) else None


def run_folder(
    cell: GridCell,
    runs: Path,
    takes_notes: bool = True,
    on_this_machine: bool = False,
    configuration: Configuration | None = None,
) -> Path:
    """Return the folder of the cell's record as its identity says now, and note it; see `Planner`.

    Args:
        cell: the run.
        runs, takes_notes: see `Planner`.
        on_this_machine: whether to check as well that this machine has the devices that the run asks for.
        configuration: the run's; composed where it is not given.

    Raises:
        FsbenchError: the run cannot be built, or not be made here.
    """
    folder, files = forks.locate_run(configuration or cell.configuration(runs), on_this_machine, takes_notes)
    if takes_notes:
        listed = fingerprint(files)
        entry = {"folder": folder.name, "cell": cell.label, "files": listed, "states_sha256": states_sha256(files)}
        _write_json(_note(cell, runs), entry)
        _write_json(_file_list(runs, listed), files)
    return folder


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value) + "\n")


def _is_undrawn(settings: Mapping[str, Any]) -> bool:
    """Return whether the data set of a run writes its files when it is built."""
    try:
        kind = resolve_name(str(setting(settings, "data.dataset.class_path")))
    except (ImportError, AttributeError, ValueError):  # building the run says what is wrong with it
        return False
    arguments = value_at(settings, ["data", "init_args", "dataset", "init_args"]) or {}
    return isinstance(kind, type) and issubclass(kind, Drawn) and not kind.is_drawn(**arguments)


def _note(cell: GridCell, runs: Path) -> Path:
    return runs / ".grid" / "cells" / f"{cell.fingerprint(runs)}.json"


def _file_list(runs: Path, listed: str) -> Path:
    return runs / ".grid" / "files" / f"{listed[:20]}.json"


def _noted_folder(cell: GridCell, runs: Path) -> Path | None:
    """Return the folder that is noted for a cell; None where there is no note, a damaged one or one of other files."""
    try:
        note = read_json(_note(cell, runs), "record")
        if note["states_sha256"] != states_sha256(read_json(_file_list(runs, note["files"]), "cache")):
            return None
        name = note["folder"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return runs / name if isinstance(name, str) and name else None
