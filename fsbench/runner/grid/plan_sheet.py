"""Lay out plans as sheets or JSON: of a request all its runs; of a grid what is to do, and the scores of variants."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from fsbench.base.progress import duration
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table
from fsbench.runner.config.needs import distinct
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.summary import VALIDATION, Summary
from fsbench.runner.grid.words import common_options, option_words, run_label, run_values, run_variant

COST = (
    "time and memory: median of earlier runs of the method, on the machine that ran them. ?: no full run here yet, so "
    "its time is not known"
)
STATE_WORDS = {"lacks files": "lacking files", "waits": "waiting for a training", "repeated": "to be repeated"}
"""States of runs in other words, for any number of them."""
SCORES = "scores: mean over folds and seeds (fsbench table shows intervals); sd: standard deviation over seeds"
CHOICE = f"{VALIDATION}: validation of the trainings, on other classes than the test's. Choose settings by it"

Task = Mapping[str, Callable[[RunConfig], str | int | None]]
"""Heading of a column on tasks and options -> the cell of a run."""


def to_sheet(planned: Sequence[PlannedRun], results: Sequence[Summary], remarks: Sequence[str] = ()) -> Sheet:
    """Return a sheet (tables with notes) on a grid: a line for each unfinished run, then each variant's scores.

    The sentences `remarks` stand below the tables.
    """
    task = _task([item.config for item in planned])
    todo, scores = _to_do(planned, task), _scores(results, task)
    notes = [
        *refusal_lines(planned),
        *missing_lines(planned),
        *[COST] * any(item.state not in ("done", "refused") for item in planned),
        SCORES,
        *[CHOICE] * any(one.metric == VALIDATION for one in results),
        *absent_scores(results),
        *remarks,
    ]
    return Sheet(count_states(planned), [table for table in (todo, scores) if table.lines], notes=notes)


def count_states(planned: Sequence[PlannedRun]) -> str:
    """Say in a line how many runs are in each state, and how long the unfinished ones take.

    For example: 1 of 3 runs done, 1 stopped, 1 waiting; 81 s left.
    """
    states = [item.state for item in planned]
    others = [state for state in dict.fromkeys(states) if state != "done"]
    counted = [f"{states.count(state)} {STATE_WORDS.get(state, state)}" for state in others]
    left = time_left(planned)
    words = {"?": "; how long they take is not known yet", "–": ""}.get(left, f"; {left} left")
    return ", ".join([f"{states.count('done')} of {len(planned)} runs done", *counted]) + words


def request_sheet(planned: Sequence[PlannedRun], runs: str) -> Sheet:
    """Return a sheet (tables with notes) on requested runs: which files each lacks, and the folder of its results."""
    columns = [Column(""), *RUN, Column("protocol"), FOLD, *STATE]
    lines, folders, refused = [], [], []
    for number, item in enumerate(planned, 1):
        run = item.config
        known = [Cell()] * 3 if item.state == "done" else _cost(item)
        words = (f"[{number}]", run.name, run.dataset, run.protocol or run.own_protocol or None, run.fold, item.state)
        lines.append(Line([*map(Cell, words), *known]))
        if item.refused:
            refused.append(f"[{number}] refused: {item.refused}")
        if item.folder is not None:
            folders.append(f"[{number}] {'is' if item.state == 'done' else 'writes to'} {item.folder}")
    if any(item.lacks for item in planned):
        folders.append(f"runs with missing files write to {runs}/; the folder's name is known once the files are there")
    if any(item.folder is None and item.state == "waiting" for item in planned):
        folders.append(f"runs on the demo write to {runs}/; the folder's name is known once the demo is drawn")
    protocols = list(dict.fromkeys(item.config.protocol or item.config.own_protocol or "–" for item in planned))
    mixed = [
        f"warning: these runs use {len(protocols)} protocols, {', '.join(protocols)}. Scores of different protocols "
        "cannot be compared, so each protocol has its own table. --protocol NAME sets one for all"
    ]
    notes = [*mixed * (len(protocols) > 1), *missing_lines(planned), *refused, *folders, COST]
    return Sheet(f"{count_states(planned)}. This is a plan: nothing was run", [Table(columns, lines)], notes=notes)


RUN = (Column("method", Form.NAME), Column("dataset"))
FOLD = Column("fold", Form.COUNT)
STATE = (
    Column("state"),
    Column("time", Form.FIGURES),
    Column("memory", Form.NUMBER, digits=0, unit=" MiB"),
    Column("known from"),
)
"""Columns of a run: which, and where it stands, with what it will take."""


def _to_do(planned: Sequence[PlannedRun], task: Task) -> Table:
    lines = []
    for item in planned:
        if item.state == "done":
            continue
        run = item.config
        known = [Cell(), Cell(), Cell("see below")] if item.refused else _cost(item)
        which = [run.name, run.dataset, run.fold, *(cell(run) for cell in task.values()), run.seed, item.state]
        lines.append(Line([*map(Cell, which), *known]))
    return Table([*RUN, FOLD, *_task_columns(task), Column("seed", Form.COUNT), *STATE], lines, "to do")


def _cost(item: PlannedRun) -> list[Cell]:
    """Return a run's estimated time and memory, and what they are known from."""
    if item.cost is None:
        return [Cell("?"), Cell("?"), Cell("no earlier run")]
    peak = item.cost.peak_mib
    return [Cell(duration(item.cost.seconds)), Cell("?" if peak is None else peak), Cell(item.cost.source)]


def refusal_lines(planned: Iterable[PlannedRun]) -> list[str]:
    """Return a line of text for each reason why runs are refused, with the first of these runs and their number."""
    by_reason: dict[str, list[PlannedRun]] = {}
    for item in planned:
        if item.refused:
            by_reason.setdefault(item.refused, []).append(item)
    return [
        f"refused: {run_label(items[0].config)}{f' and {len(items) - 1} more' if items[1:] else ''}: {reason}; "
        "change its settings or leave it out"
        for reason, items in by_reason.items()
    ]


def missing_lines(planned: Iterable[PlannedRun]) -> list[str]:
    """Return a line for each missing file or folder, with the command that brings it."""
    return [f"missing: {thing}" for thing in distinct(thing for item in planned for thing in item.lacks)]


def _task(runs: Sequence[RunConfig]) -> Task:
    """Return the columns of tasks and options in which a run has a value; options that all runs have are left out."""
    common = common_options(runs)
    cells: Task = {
        "way": lambda run: run.way,
        "shot": lambda run: run.shot,
        "setting": lambda run: run.setting,
        "protocol": lambda run: run.protocol or run.own_protocol,
        "options": lambda run: option_words(run, common),
    }
    return {name: cell for name, cell in cells.items() if any(cell(run) not in (None, "–") for run in runs)}


def _task_columns(task: Task) -> list[Column]:
    return [Column(name, Form.COUNT if name in ("way", "shot") else Form.WORDS) for name in task]


def _scores(results: Sequence[Summary], task: Task) -> Table:
    metrics = list(dict.fromkeys(item.metric for item in results))
    kept = {*metrics[:1], VALIDATION}
    columns = [*RUN, *_task_columns(task), Column("folds", Form.FIGURES), Column("seeds", Form.FIGURES)]
    columns += [
        column
        for metric in metrics
        for own in [metric.removeprefix("val/")]
        for column in (
            Column(metric, Form.SCORE, metric=own, rank=0 if metric in kept else 2),
            Column("sd", Form.SCORE, metric=own, rank=1),
        )
    ]
    lines = []
    by_variant: dict[tuple[str, ...], list[Summary]] = {}
    for item in results:
        by_variant.setdefault(run_variant(item.variant), []).append(item)
    for items in by_variant.values():
        first = items[0]
        run = first.variant
        folds, seeds = f"{first.folds} of {first.of or '?'}", f"{first.done} of {first.wanted}"
        scores = [Cell(value) for item in items for value in (item.value, item.deviation)]
        which = [run.name, run.dataset, *(cell(run) for cell in task.values()), folds, seeds]
        lines.append(Line([*map(Cell, which), *scores]))
    return Table(columns, lines, "scores")


def absent_scores(results: Sequence[Summary]) -> list[str]:
    """Return lines of text that name variants without scores, or whose scores lack folds or seeds."""
    lines = []
    scored = [item for item in results if item.value is not None]
    if any(not item.is_complete for item in scored):
        lines.append(
            "a row in which folds or seeds are missing: the mean of those that are done, not of the whole test"
        )
    for item in scored:
        if item.is_whole or not item.is_complete:
            continue
        folds = item.chosen_folds
        only = (
            f"fold {folds[0]}; the mean is of that fold"
            if len(folds) == 1
            else (f"folds {', '.join(map(str, folds))}; the mean is of these folds")
        )
        lines.append(f"folds {item.folds} of {item.of}: the grid has only {only}")
    lines = list(dict.fromkeys(lines))
    for metric in dict.fromkeys(item.metric for item in results):
        absent = [item for item in results if item.metric == metric and item.value is None and item.of is not None]
        if absent:
            names = dict.fromkeys(f"{item.variant.name} on {item.variant.dataset}" for item in absent)
            lines.append(f"–: {', '.join(names)} {'has' if len(names) == 1 else 'have'} no {metric}")
    return lines


def time_left(planned: Iterable[PlannedRun]) -> str:
    """Return the estimated time that unfinished runs take, as text; "?" if nothing is known."""
    left = [item for item in planned if item.state not in ("done", "refused")]
    known = [item.cost.seconds for item in left if item.cost is not None]
    if not left or not known:
        return "?" if left else "–"
    return "more than " * (len(known) < len(left)) + duration(sum(known))


def as_json(planned: Sequence[PlannedRun], results: Sequence[Summary], remarks: Sequence[str]) -> str:
    """Return JSON text with the state of all runs of a grid, and each variant's scores by seed."""
    runs = [item.as_dict() for item in planned]
    scores = [vars(item) | {"variant": run_values(item.variant)} for item in results]
    return json.dumps({"runs": runs, "scores": scores, "notes": list(remarks)}, indent=2) + "\n"
