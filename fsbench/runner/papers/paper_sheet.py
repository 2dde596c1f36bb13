"""Lay out the plan of a paper: its tables in a line each, or the rows of one table, and what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fsbench.results.published.scores import PublishedScore
from fsbench.results.sheets.data import plain_score
from fsbench.results.sheets.layout import Grid, Sheet
from fsbench.runner.config.merge import setting
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.plan_sheet import count_states, missing_lines, time_left
from fsbench.runner.papers.files import Paper, PaperRow
from fsbench.runner.papers.needed_runs import PaperRun, RowRuns
from fsbench.runner.papers.results import RESULT_NOTES, RowResult, numbered, refer, results_grid

LONGEST_NAME = 24
"""Characters of a method with its variant; the variants of longer ones are notes."""


@dataclass(frozen=True)
class PaperPlan:
    """All that is known of a paper's runs, or of those of one table.

    Attributes:
        name, paper: the paper.
        runs: the runs of the chosen rows.
        planned: their states, and those of the trainings that they start from.
        not_run: row -> why it has no runs.
        remarks: row -> why its figures cannot be expected to come out.
        results: measured beside reported.
    """

    name: str
    paper: Paper
    runs: RowRuns
    planned: dict[PaperRun, PlannedRun]
    not_run: dict[PaperRow, str]
    remarks: dict[PaperRow, list[str]]
    results: Sequence[RowResult]


def to_sheet(plan: PaperPlan, table: str | None = None) -> Sheet:
    """Return the sheet of a plan: a line for each table, or with `table` one for each of its rows, and its results."""
    notes: list[str] = []
    if table is None:
        parts = [("", _tables(plan))]
    else:
        parts = [(plan.paper.tables[table].caption, _rows(plan, notes))]
        parts.append(("measured beside reported", results_grid(plan.results, notes)))
    items = plan.planned.values()
    waiting = sum(item.state == "waits" for item in items)
    lines = missing_lines(items)
    if waiting:
        tests = "run tests" if waiting == 1 else "runs test"
        lines.append(f"{waiting} {tests} the checkpoint of a training that is not done yet")
    lines += numbered(notes) if table else _remark_lines(plan)
    lines += RESULT_NOTES if table and plan.results else ()
    where = f"table {table}, " if table else ""
    title = f"{plan.paper.title}: {where}{count_states(list(items))}"
    return Sheet(title, [(caption, grid) for caption, grid in parts if len(grid) > 1], lines)


def as_values(plan: PaperPlan) -> dict[str, object]:
    """Return the plan as plain values for JSON."""
    return {
        "paper": plan.name,
        "title": plan.paper.title,
        "runs": [
            item.as_dict() | {"seconds": None if item.cost is None else item.cost.seconds}
            for item in plan.planned.values()
        ],
        "rows": [
            {"table": row.table, "method": row.method, "task": row.task, "cannot_run": plan.not_run.get(row, "")}
            | {"remarks": plan.remarks[row]}
            for row in plan.runs
        ],
        "results": [
            {"table": item.row.table, "method": item.row.method, "task": item.row.task, "fold": item.comparison.fold}
            | {"metric": item.comparison.metric, "measured": plain_score(item.comparison.measured)}
            | {"reported": item.comparison.reported.value, "verdict": item.verdict, "why": item.why}
            | {"caveats": item.comparison.caveats}
            for item in plan.results
        ],
    }


def list_papers(papers: dict[str, Paper], rows: dict[str, int]) -> Grid:
    """Lay out a line for each paper: its name, title, tables and number of rows."""
    grid: Grid = [["paper", "title", "rows", "tables"]]
    return grid + [[name, paper.title, str(rows[name]), ", ".join(paper.tables)] for name, paper in papers.items()]


def remarks(row: PaperRow, figures: Sequence[PublishedScore]) -> list[str]:
    """Return why the figures of a row cannot be expected to come out, as far as that is known before anything runs."""
    settings = row.request.values
    found = list(row.cannot_equal)
    if all(figure.doubt for figure in figures):
        found += dict.fromkeys(figure.doubt for figure in figures)
    compared = {
        "batch": (row.stated_setting("batch"), "data.training.batch_size"),
        "epochs": (row.stated_setting("epochs"), "trainer.max_epochs"),
    }
    for what, (stated, key) in compared.items():
        ours = setting(settings, key)
        if stated is not None and ours != stated:
            found.append(f"{what} {ours} here, {stated} in the paper")
    return found


def _tables(plan: PaperPlan) -> Grid:
    grid: Grid = [["table", "of", "rows", "runs", "done", "ready", "blocked", "time left"]]
    for number, table in plan.paper.tables.items():
        rows = [row for row in plan.runs if row.table == number]
        items = _items(plan, rows)
        states = [item.state for item in items]
        counts = [states.count("done"), sum(item.is_ready for item in items)]
        counts.append(sum(bool(item.lacks) for item in items))
        grid.append([number, table.caption, str(len(rows)), str(len(items)), *map(str, counts), time_left(items)])
    return grid


def _rows(plan: PaperPlan, notes: list[str]) -> Grid:
    grid: Grid = [["method", "task", "batch", "epochs", "done", "time left", "remarks"]]
    for row in plan.runs:
        items = _items(plan, [row])
        settings = row.request.values
        trained = row.entry.checkpoint == "trained"
        shown = [
            str(setting(settings, key)) if trained else "–"
            for key in ("data.training.batch_size", "trainer.max_epochs")
        ]
        done = f"{sum(item.state == 'done' for item in items)} of {len(row.entry.folds)}"
        why = [plan.not_run[row]] if row in plan.not_run else []
        why += dict.fromkeys(item.refused for item in items if item.refused)
        name, explained = row.method, []
        if len(name) > LONGEST_NAME:  # a table stays as wide as a terminal
            name, explained = name.partition(" (")[0], [row.variant]
        remarked = refer(notes, [*explained, *why, *plan.remarks[row]])
        grid.append([name, row.task, *shown, done, time_left(items), remarked])
    return grid


def _items(plan: PaperPlan, rows: Iterable[PaperRow]) -> list[PlannedRun]:
    """Return the runs of the rows, each once."""
    return [plan.planned[run] for run in dict.fromkeys(run for row in rows for run in plan.runs[row])]


def _remark_lines(plan: PaperPlan) -> list[str]:
    """Return each reason once, with the number of rows that it is about and their tables."""
    about: dict[str, list[PaperRow]] = {}
    for row in plan.runs:
        if row in plan.not_run:
            about.setdefault(f"cannot be run: {plan.not_run[row]}", []).append(row)
        for why in plan.remarks[row]:
            about.setdefault(f"cannot be equal: {why}", []).append(row)
    lines = []
    for why, rows in about.items():
        tables = list(dict.fromkeys(row.table for row in rows))
        where = f"{len(rows)} row{'s' * (len(rows) > 1)} of table{'s' * (len(tables) > 1)} {', '.join(tables)}"
        lines.append(f"{why} ({where})")
    refused = dict.fromkeys(f"refused: {item.refused}" for item in plan.planned.values() if item.refused)
    return [*lines, *refused]
