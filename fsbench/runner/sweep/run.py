"""Make the trials of a sweep on the grid's machinery, and keep what came of them; an interrupted sweep goes on."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.files import locked, make_folder, read_bytes, read_text, write_text
from fsbench.base.files.validation import first_problem
from fsbench.runner.config.request import Request
from fsbench.runner.grid.executors import LocalProcesses
from fsbench.runner.grid.plan import PlannedRun, Planner, finished_record
from fsbench.runner.grid.run import Failure, last_lines, run_missing
from fsbench.runner.grid.spec import request_cells
from fsbench.runner.sweep.hyperband import is_stopped
from fsbench.runner.sweep.search import Tried, propose
from fsbench.runner.sweep.spec import Sweep, Value

FOLDER, STATE = ".sweeps", "trials.json"
USUAL_COUNT = 20
"""Number of trials of a search that names none; a grid has all of its combinations."""

State = Literal["running", "done", "stopped", "failed"]


class Trial(BaseModel):
    """A trial of a sweep.

    Attributes:
        number: from 0.
        settings: name of a parameter -> its value.
        units: what they were drawn by, see `fsbench.runner.sweep.search.Proposal`.
        state: "running" of one that was begun and has not ended; "stopped" by Hyperband.
        value: its score; None where it came to none.
        history: values of its validations.
        runs: names of its runs' folders.
        reason: why it failed or was stopped.
    """

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(ge=0)]
    settings: dict[str, Value | None]
    units: dict[str, float] = {}
    state: State = "running"
    value: float | None = None
    history: list[float] = []
    runs: list[str] = []
    reason: str = ""

    @property
    def tried(self) -> Tried:
        """The trial as a search learns from it."""
        return Tried(self.settings, self.units, self.value)


def state_folder(sweep: Sweep, runs: Path) -> Path:
    """Return the folder that keeps a sweep's trials and its page; another file has another."""
    return runs / FOLDER / f"{sweep.name}-{sweep.digits}"


def read_trials(sweep: Sweep, runs: Path) -> list[Trial]:
    """Read the trials of a sweep; none of a new one. Raises RecordError where their file is damaged."""
    file = state_folder(sweep, runs) / STATE
    try:
        content = read_bytes(file, "record")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"cannot read {file} ({error}); expected the trials of a sweep") from error
    try:
        trials = TypeAdapter(list[Trial]).validate_json(content)
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise ValueError("its trials are not numbered from 0")
    except ValueError as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise RecordError(
            f"{file} is damaged ({problem}); expected the trials of a sweep; remove it: finished runs are found again"
        ) from error
    return trials


class SweepRun:
    """Makes a sweep's trials, one batch after the other.

    Args:
        sweep: what is searched.
        runs: folder of all runs.
        request_of: reads the request of a command line of `fsbench bench`.
        at_once: trials of a batch, which run at a time.
        seed: of the search.
        say: gets a line for each trial that ends.
    """

    def __init__(
        self,
        sweep: Sweep,
        runs: Path,
        request_of: Callable[[list[str]], Request],
        at_once: int = 1,
        seed: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ):
        self.sweep, self.runs, self.request_of = sweep, runs, request_of
        self.at_once, self.seed, self.say = at_once, seed, say
        self.trials: list[Trial] = []
        self._looked: dict[Path, tuple[int, bool]] = {}

    def run(self, count: int | None) -> list[Trial]:
        """Make trials until there are `count` of them, all of a grid unless given, and return all.

        Raises:
            SettingsError: the settings of a trial are none of `fsbench bench`, its data or weights are absent, its runs
                do not have the score, or another process works on the sweep.
            RecordError: what was kept of earlier trials is damaged.
        """
        wanted = self._wanted(count)
        folder = make_folder(state_folder(self.sweep, self.runs))
        with locked(folder / ".lock", refusal=f"another process works on the sweep in {folder}; wait for it"):
            self.trials = read_trials(self.sweep, self.runs)
            while batch := self._next_batch(wanted):
                planned = [self._plan(trial) for trial in batch]  # an option that is none ends the sweep before it runs
                self._save()
                self._make(batch, planned)
                self._save()
        return self.trials

    def _wanted(self, count: int | None) -> int:
        limits = [number for number in (count, self.sweep.most) if number is not None]
        if self.sweep.method == "grid":
            return min([*limits, self.sweep.grid_size])
        return min(limits, default=USUAL_COUNT)

    def _next_batch(self, wanted: int) -> list[Trial]:
        """Return the trials that were interrupted, else new ones, as many as run at a time."""
        batch = [trial for trial in self.trials if trial.state == "running"][: self.at_once]
        while len(batch) < self.at_once and len(self.trials) < wanted:
            before = [trial.tried for trial in self.trials]
            proposal = propose(self.sweep, len(self.trials), before, self.seed)
            if proposal is None:
                break
            trial = Trial(number=len(self.trials), settings=proposal.settings, units=proposal.units)
            self.trials.append(trial)
            batch.append(trial)
        return batch

    def _plan(self, trial: Trial) -> list[PlannedRun]:
        """Look up the runs of a trial. Raises SettingsError where one cannot be made."""
        request = self.request_of(self.sweep.arguments(trial.settings))
        planner = Planner(self.runs)
        planned = [planner.look_up(cell) for cell in request_cells(request)]
        hindered = next((item for item in planned if item.obstacle), None)
        if hindered is not None:
            raise hindered.error or SettingsError(hindered.obstacle)
        if self.sweep.early is not None and len(planned) > 1:
            raise SettingsError(
                f"a trial of {self.sweep.name} has {len(planned)} runs, and early_terminate compares single ones; "
                "expected one method and one fold in the command"
            )
        trial.runs = [item.folder.name for item in planned if item.folder is not None]
        return planned

    def _make(self, batch: Sequence[Trial], planned: Sequence[Sequence[PlannedRun]]) -> None:
        owners = {id(item): trial for trial, items in zip(batch, planned, strict=True) for item in items}
        every = [item for items in planned for item in items]

        def stops(item: PlannedRun) -> bool:
            return self._is_stopped(owners[id(item)], item, batch)

        failures = run_missing(every, self.runs, LocalProcesses(self.at_once), stops=stops)
        by_item = {id(failure.item): failure for failure in failures}
        for trial, items in zip(batch, planned, strict=True):
            self._end(trial, items, [by_item[id(item)] for item in items if id(item) in by_item])

    def _is_stopped(self, trial: Trial, item: PlannedRun, batch: Sequence[Trial]) -> bool:
        """Return whether Hyperband ends a run now; it is asked anew where the run has come further."""
        early, metric = self.sweep.early, self.sweep.metric
        if early is None or metric is None or item.folder is None:
            return False
        trial.history = logged_values(item.folder, metric.name)
        asked, answer = self._looked.get(item.folder, (0, False))
        if len(trial.history) > asked:
            others = [other.history for other in self.trials if other is not trial]
            answer = is_stopped(trial.history, others, early, metric.sign)
            self._looked[item.folder] = len(trial.history), answer
            if answer:
                trial.state = "stopped"
                trial.reason = f"by Hyperband after {len(trial.history)} validations"
        return answer

    def _end(self, trial: Trial, items: Sequence[PlannedRun], failures: Sequence[Failure]) -> None:
        """Note what became of a trial."""
        metric = self.sweep.metric
        if trial.state == "stopped":
            assert metric is not None
            trial.value = metric.sign * max(metric.sign * value for value in trial.history)
        elif failures:
            log = failures[0].log
            lines = last_lines(log) if log is not None else []
            trial.state, trial.reason = "failed", f"status {failures[0].status}: {lines[-1] if lines else log}"
        else:
            trial.state = "done"
            folders = [item.folder for item in items if item.folder is not None]
            if metric is not None:
                if not metric.name.startswith("test/") and len(folders) == 1:
                    trial.history = logged_values(folders[0], metric.name)
                trial.value = mean(score_of_run(folder, metric.name, metric.sign) for folder in folders)
        self.say(self._line(trial))

    def _line(self, trial: Trial) -> str:
        names = [one.name for one in self.sweep.searched]
        settings = ", ".join(f"{name} {trial.settings[name]}" for name in names)
        score = (
            "" if trial.value is None or self.sweep.metric is None else f" {self.sweep.metric.name} {trial.value:.4g}"
        )
        reason = f" ({trial.reason})" if trial.reason else ""
        return f"trial {trial.number + 1}: {trial.state}{score}{reason}; {settings}"

    def _save(self) -> None:
        text = TypeAdapter(list[Trial]).dump_json(self.trials, indent=1).decode()
        write_text(state_folder(self.sweep, self.runs) / STATE, text + "\n")


def best_trial(sweep: Sweep, trials: Sequence[Trial]) -> Trial | None:
    """Return the finished trial with the best score, the first of equal ones; None where none has a score."""
    sign = 1 if sweep.metric is None else sweep.metric.sign
    scored = [(sign * trial.value, trial) for trial in trials if trial.value is not None and trial.state == "done"]
    return max(scored, key=lambda pair: (pair[0], -pair[1].number))[1] if scored else None


def score_of_run(folder: Path, metric: str, sign: int) -> float:
    """Return a finished run's score: `test/…` of its record, else the best that its training logged under the name.

    Raises SettingsError where it has none.
    """
    if metric.startswith("test/"):
        record = finished_record(folder)
        if record is None:
            raise RecordError(f"{folder} has no record; expected a finished run")
        known = {f"test/{name}": score for name, score in record.run.scores.items()}
        value = known.get(metric, math.nan)
        if value is None or math.isnan(value):
            raise SettingsError(f"{folder.name} has no score {metric}; there are: {', '.join(sorted(known))}")
        return value
    values = logged_values(folder, metric)
    if not values:
        names = ", ".join(sorted(logged_names(folder))) or "nothing, since nothing was trained"
        raise SettingsError(f"the training of {folder.name} logged no {metric}; it logged: {names}")
    return sign * max(sign * value for value in values)


def logged_values(folder: Path, metric: str) -> list[float]:
    """Return what a training has logged under a name so far, in order; the values that are numbers."""
    values = []
    for row in _curves(folder):
        try:
            number = float(row.get(metric) or "nan")
        except ValueError:
            continue
        values += [number] if math.isfinite(number) else []
    return values


def logged_names(folder: Path) -> set[str]:
    """Return the names of what a training has logged."""
    return {name for row in _curves(folder) for name, value in row.items() if value and name not in ("epoch", "step")}


def _curves(folder: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for file in sorted(folder.glob("curves/**/metrics.csv")):
        lines = read_text(file, "log").splitlines()
        rows += [{key: value for key, value in row.items() if key} for row in csv.DictReader(lines)]
    return rows
