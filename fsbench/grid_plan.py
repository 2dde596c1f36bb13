"""What of a grid is done, what is missing, and what that will cost.

Where a cell's record is follows from its identity, for which the data set is read and the model built. That is done
once for each cell and noted in `<runs>/.grid/cells`, under a hash of everything that was asked for.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fsbench.errors import FsbenchError, user_message
from fsbench.files import write_text
from fsbench.grid import GridCell
from fsbench.records import Record, find_records, read_record


@dataclass(frozen=True)
class Cost:
    """Expected of a cell: seconds of training and of evaluation, memory, and what that is known from."""

    training: float
    evaluation: float
    peak_mib: float
    source: str

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation


@dataclass(frozen=True)
class Planned:
    """A cell, and where its record is or will be; `refused` says why it cannot be run, `cost` is None when unknown."""

    cell: GridCell
    folder: Path | None
    record: Record | None = None
    refused: str = ""
    cost: Cost | None = None

    @property
    def state(self) -> str:
        if self.refused:
            return "refused"
        if self.record is not None:
            return "done"
        begun = self.folder is not None and (self.folder / "identity.json").is_file()
        return "begun" if begun else "missing"


def plan(
    cells: Sequence[GridCell], runs: Path, recheck: bool = False, progress: Callable[..., Any] = iter
) -> list[Planned]:
    """Look every cell up. `recheck` trusts no earlier note; `progress` wraps the loop over the cells."""
    known = find_records(runs) if runs.is_dir() else []
    by_name = {record.path.name: record for record in known}
    estimates = Estimates(known)
    planned = []
    for cell in progress(cells):
        try:
            folder = _folder(cell, runs, recheck)
        except FsbenchError as error:
            planned.append(Planned(cell, None, refused=user_message(error).splitlines()[0]))
            continue
        record = by_name.get(folder.name) if folder.parent == runs else read_record(folder)
        planned.append(Planned(cell, folder, record, cost=None if record else estimates.of(cell)))
    return planned


def _folder(cell: GridCell, runs: Path, recheck: bool) -> Path:
    """Of the cell's record. Raises FsbenchError when the cell cannot be built."""
    note = runs / ".grid" / "cells" / f"{cell.fingerprint(runs)}.json"
    if note.is_file() and not recheck:
        return runs / str(json.loads(note.read_text())["folder"])
    from fsbench.cell import Cell  # with torch, which a grid whose cells are all known does not need
    from fsbench.composition import parse

    folder = Cell(parse(cell.arguments(runs))).folder
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps({"folder": folder.name, "cell": cell.label}) + "\n")
    return folder


class Estimates:
    """What cells will cost, from what finished runs did cost."""

    def __init__(self, records: Iterable[Record]):
        self.by_method: dict[str, list[tuple[dict[str, Any], Record]]] = {}
        for record in records:
            with (record.path / "manifest.jsonl").open() as file:
                header = json.loads(file.readline())
            self.by_method.setdefault(record.run["identity"]["method"]["name"], []).append((header, record))

    def of(self, cell: GridCell) -> Cost | None:
        """The median of the runs that are most like it: same data set, way, shot and setting; the same data set; the
        same method. A run with a checkpoint says nothing of a training."""
        trains = cell.checkpoint is None
        like = [
            (header, record)
            for header, record in self.by_method.get(cell.method, ())
            if not trains or not _from_checkpoint(record)
        ]
        task = {"way": cell.way or 1, "shot": cell.shot or 1, "setting": cell.setting or "original"}
        here = [(h, r) for h, r in like if h["dataset"] == cell.dataset]
        same = [(h, r) for h, r in here if all(h[key] == value for key, value in task.items())]
        for chosen, what in ((same, "this task"), (here, f"other tasks on {cell.dataset}"), (like, "other data")):
            measured = [(h, r) for h, r in chosen if r.run["cost"].get("episodes_per_second")]
            if measured:
                training = [(r.run.get("made") or {}).get("training_seconds") or 0.0 for _, r in measured]
                evaluation = [h["requested"] / r.run["cost"]["episodes_per_second"] for h, r in measured]
                peak = max(r.run["cost"]["peak_mib"] for _, r in measured)
                runs = f"{len(measured)} run{'s' * (len(measured) > 1)} of {what}"
                return Cost(median(training) if trains else 0.0, median(evaluation), peak, runs)
        return None


def _from_checkpoint(record: Record) -> bool:
    training = record.run["identity"]["training"]
    return bool(training and "checkpoint_sha256" in training)
