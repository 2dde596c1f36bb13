"""The plan of a list of runs: which are done, begun or missing, and what the others lack.

Where a run's record is follows from its identity, for which the data set is read and the model built. That is done once
for each run of a grid and noted in `<runs>/.grid/cells`, under a hash of everything that was asked for. A note holds as
long as the files that it was made with are as they were: images, label maps, lists, whatever else was read for it; they
are listed in `<runs>/.grid/files`.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from fsbench.base.errors import FsbenchError, RecordError, user_message
from fsbench.base.files import fingerprint, read_json, write_text
from fsbench.base.files.opening import opened_files
from fsbench.base.version import __version__
from fsbench.data.dataset import Drawn
from fsbench.data.file_digests import at_one_moment, states_sha256
from fsbench.records.record import Record, find_records, read_record
from fsbench.records.run import run_name
from fsbench.records.run_directory import is_finished, is_held
from fsbench.runner.config.merge import setting
from fsbench.runner.config.needs import Missing, missing_files
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.shared_parts import SharedParts
from fsbench.runner.grid.estimate import CostEstimate, Estimates
from fsbench.runner.grid.words import run_label, run_values, run_variant

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from fsbench.runner.engine.experiment import Experiment

LOOKING_UP = "Reading images and settings (the next time only what has changed)"
"""Words for the progress of a plan."""

State = Literal["done", "repeated", "stopped", "waiting", "running elsewhere", "waits", "lacks files", "refused"]


@dataclass(frozen=True)
class PlannedRun:
    """A requested run, with its state: done, possible, or why not; and its estimated cost.

    Attributes:
        config: the requested run.
        folder: folder of the run's record, whether or not it exists yet; None if its name cannot be determined yet.
        record: the run's record, if it is done.
        error: the error that says why the run is not possible; None if it is possible.
        lacks: files and folders that the run needs and that are missing.
        waits: whether it starts from the checkpoint of a training that is not done yet.
        cost: the estimated cost of the run; None if it is unknown or the run is done.
        settings: all settings of the run if the parser has checked them; else None.
        walk: hash of test, frozen network and machine, equal for runs that can be evaluated together in one process;
            None for other runs, and if it was not computed.
        takes_seed: whether the result depends on the run's seed: the run trains, adapts or is a classification run.
    """

    config: RunConfig
    folder: Path | None
    record: Record | None = None
    error: FsbenchError | None = None
    lacks: tuple[Missing, ...] = ()
    waits: bool = False
    cost: CostEstimate | None = None
    settings: "Namespace | None" = field(default=None, compare=False)  # known or not, it is the same run
    walk: str | None = field(default=None, compare=False)
    takes_seed: bool = field(default=True, compare=False)

    @cached_property
    def state(self) -> State:
        """State of the run when first read: "done", "repeated", "refused", "lacks files", "waits", "stopped", …

        "waits": the run needs the checkpoint of a training that is not done. "stopped": the run was begun and can be
        resumed. The other values are "waiting" (not begun) and "running elsewhere".
        """
        if self.error is not None:
            return "refused"
        if self.record is not None:
            return "repeated" if self.config.force else "done"
        if self.lacks or self.waits:
            return "lacks files" if self.lacks else "waits"
        if self.folder is not None and is_held(self.folder):
            return "running elsewhere"
        begun = self.folder is not None and (self.folder / "identity.json").is_file()
        return "stopped" if begun else "waiting"

    @property
    def is_ready(self) -> bool:
        """Whether the run can be carried out now: its state is "waiting", "stopped" or "repeated"."""
        return self.state in ("waiting", "stopped", "repeated")

    @property
    def refused(self) -> str:
        """Why the run is not possible; "" if it is."""
        return "" if self.error is None else user_message(self.error).splitlines()[0]

    @property
    def obstacle(self) -> str:
        """Why the run is not possible, or which files are missing; "" if it can be carried out."""
        return self.refused or "; ".join(str(thing) for thing in self.lacks)

    def as_dict(self) -> dict[str, Any]:
        """Return the run's settings, state, folder, missing files and cost as plain values for JSON."""
        return run_values(self.config) | {
            "state": self.state,
            "folder": None if self.folder is None else str(self.folder),
            "refused": self.refused,
            "missing": [str(thing) for thing in self.lacks],
            "cost": None if self.cost is None else vars(self.cost),
        }


class Planner:
    """Finds out for requested runs whether they are done, which files are missing, and what they cost.

    Records in the folder of runs are read once.

    Args:
        runs: the folder of all runs.
        recheck: whether to compute the hashes of runs' identities again instead of reading them from the cache.
        takes_notes: whether to write identities to the cache.
        draws: whether to create a synthetic data set that does not exist yet. If not, the folder of a run on it is
            unknown.
    """

    def __init__(self, runs: Path, recheck: bool = False, takes_notes: bool = True, draws: bool = True):
        self.runs = runs
        self.recheck = recheck
        self.takes_notes = takes_notes
        self.draws = draws
        self.shared = SharedParts()
        self.files: set[str] = set()  # opened for any run of the plan; each is noted with every one

    @cached_property
    def estimates(self) -> Estimates:
        """Cost estimates from the records in the folder of runs."""
        return Estimates(find_records(self.runs, []) if self.runs.is_dir() else [])

    def plan(self, run: RunConfig) -> PlannedRun:
        """Look up a run and estimate its cost; the result holds the error if the run cannot be built or read."""
        item = self.look_up(run)
        if item.record is not None:
            try:
                item.record.header  # noqa: B018 - scores and notes are of it
            except RecordError as error:
                return PlannedRun(run, item.folder, error=error)
        return item if item.state in ("done", "refused") else replace(item, cost=self.estimates.estimate(run))

    def look_up(self, run: RunConfig, on_this_machine: bool = False) -> PlannedRun:
        """Look up a run's record; if there is none, find which files the run lacks.

        Args:
            run: the run.
            on_this_machine: whether to check that this machine has the devices that the run needs.
        """
        try:
            folder, takes_seed = (None, True) if self.recheck else _noted(run)
            record = None if folder is None else finished_record(folder, run.force)
            if record is None:
                lacks = tuple(missing_files(run))
                if lacks or (not self.draws and _is_undrawn(run)):
                    return PlannedRun(run, folder, lacks=lacks)
                if folder is None:
                    return self.build(run, on_this_machine)
        except FsbenchError as error:
            return PlannedRun(run, None, error=error)
        return PlannedRun(run, folder, record, takes_seed=takes_seed)

    def build(self, run: RunConfig, on_this_machine: bool = False) -> PlannedRun:
        """Build a run's data and method without the frozen network, to find the run's folder and what prevents the run.

        Args:
            run: the run.
            on_this_machine: whether to check that this machine has the devices that the run needs.

        Raises:
            FsbenchError: the run cannot be built, this machine lacks a device, or the run's record is damaged.
        """
        # with torch
        from fsbench.runner.engine.experiment import Experiment
        from fsbench.runner.engine.identity import shared_walk
        from fsbench.runner.engine.machine.check import check_machine

        with opened_files() as opened:
            experiment = Experiment(run.parse(shared=self.shared))
            if on_this_machine:
                check_machine(experiment.trainer_settings)
            folder, walk, takes_seed = experiment.folder, shared_walk(experiment), _takes_seed(experiment)
        if self.takes_notes:
            self.files |= opened
            files = sorted(self.files.union(map(os.path.abspath, experiment.files)))
            listed, states = fingerprint(files), states_sha256(files)
            entry = {"folder": folder.name, "cell": run_label(run), "files": listed, "states_sha256": states}
            _write_json(_note(run), entry | {"takes_seed": takes_seed})
            _write_json(_file_list(run, listed), files)
        settings = experiment.parsed.config
        return PlannedRun(
            run, folder, finished_record(folder, run.force), settings=settings, walk=walk, takes_seed=takes_seed
        )


def plan(runs: Iterable[RunConfig], folder: Path, recheck: bool = False) -> list[PlannedRun]:
    """Look up runs in a folder (see `Planner`); of runs that differ only in an unused seed keep one."""
    planner = Planner(folder, recheck)
    with at_one_moment():
        return without_repeats([planner.plan(run) for run in runs])


def without_repeats(planned: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Drop runs that differ from another run only in a seed that does not change the result.

    Of such runs a finished one is kept, else the first.
    """
    chosen: dict[tuple[object, ...], PlannedRun] = {}
    for item in planned:
        key = *run_variant(item.config), item.config.fold
        if not item.takes_seed and (key not in chosen or (item.record and not chosen[key].record)):
            chosen[key] = item
    return [item for item in planned if item.takes_seed or any(item is one for one in chosen.values())]


def _takes_seed(experiment: "Experiment") -> bool:
    learns = experiment.trains or experiment.method.needs.calibration or experiment.identity.adaptation is not None
    return bool(learns) or not experiment.data.protocol.has_masks  # a classifier may draw from the run's seed


def may_be_done(run: RunConfig) -> bool:
    """Return whether the folder of runs has a finished one of this name, perhaps this run, which only its data tell."""
    return not run.force and any(map(is_finished, Path(run.runs).glob(f"{run_name(run.name)}-*")))


def finished_record(folder: Path, force: bool = False) -> Record | None:
    """Return the record in `folder`; None if unfinished. Raises RecordError if it is damaged, unless it is replaced."""
    try:
        return read_record(folder) if is_finished(folder) else None
    except RecordError:
        if not force:
            raise
        return None


def run_folder(run: RunConfig, takes_notes: bool = True) -> Path:
    """Return the folder of a run's record, whose name follows from the run's identity; cache the identity.

    Raises FsbenchError if the run cannot be built.
    """
    folder = Planner(Path(run.runs), takes_notes=takes_notes).build(run).folder
    assert folder is not None
    return folder


def run_fingerprint(run: RunConfig) -> str:
    """Return a hash of a run's settings as they are given, and of the states of the files that it uses.

    It does not depend on the folder of the runs.
    """
    values = {**run.values, "run": {**run.values.get("run", {}), "runs": None}}
    named = ("run.checkpoint", "data.test.manifest", "model.backbone.weights")
    states = states_sha256([Path(str(file)) for key in named if (file := setting(run.values, key))])
    return fingerprint([__version__, values, run.extra, states])[:20]


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value) + "\n")


def _is_undrawn(run: RunConfig) -> bool:
    """Return whether the data set of a run writes its files when it is built."""
    try:
        kind = resolve_name(str(setting(run.values, "data.dataset.class_path")))
    except (ImportError, AttributeError, ValueError):  # building the run says what is wrong with it
        return False
    arguments = (setting(run.values, "data.dataset") or {}).get("init_args") or {}
    return isinstance(kind, type) and issubclass(kind, Drawn) and not kind.is_drawn(**arguments)


def _note(run: RunConfig) -> Path:
    return Path(run.runs) / ".grid" / "cells" / f"{run_fingerprint(run)}.json"


def _file_list(run: RunConfig, listed: str) -> Path:
    return Path(run.runs) / ".grid" / "files" / f"{listed[:20]}.json"


def _noted(run: RunConfig) -> tuple[Path | None, bool]:
    """Return the folder that is noted for a run, and whether it takes the seed; no folder if there is no note, a
    damaged one or one of other files."""
    try:
        note = read_json(_note(run), "record")
        if note["states_sha256"] != states_sha256(read_json(_file_list(run, note["files"]), "cache")):
            return None, True
        name, takes_seed = note["folder"], note["takes_seed"]
    except (OSError, ValueError, TypeError, KeyError):
        return None, True
    return (Path(run.runs) / name if isinstance(name, str) and name else None), bool(takes_seed)
