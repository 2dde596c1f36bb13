"""Lay out the plan of a paper: its tables in a line each, or the rows of one table, and what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fsbench.results.published.scores import PublishedScore
from fsbench.results.sheets.data import plain_score
from fsbench.results.table import Cell, Column, Form, Line, Sheet, Table
from fsbench.runner.config.merge import setting
from fsbench.runner.grid.plan import PlannedRun
from fsbench.runner.grid.plan_sheet import count_states, missing_lines, time_left
from fsbench.runner.papers.files import Paper, PaperRow
from fsbench.runner.papers.needed_runs import PaperRun, RowRuns
from fsbench.runner.papers.results import RESULT_NOTES, RowResult, numbered, refer, results_table


@dataclass(frozen=True)
class PaperPlan:
    """State of the runs that a paper, or one of its tables, needs, with the scores measured so far.

    Attributes:
        name, paper: name of the paper in configs/papers, and its content.
        runs: {row: its runs, one for each fold}, for the chosen rows.
        planned: {run: its state and cost}, also for trainings whose checkpoints other runs use.
        not_run: {row: reason why it has no runs}.
        remarks: {row: reasons why its published scores cannot be expected to be reproduced}.
        results: measured scores of rows, compared with the published scores.
    """

    name: str
    paper: Paper
    runs: RowRuns
    planned: dict[PaperRun, PlannedRun]
    not_run: dict[PaperRow, str]
    remarks: dict[PaperRow, list[str]]
    results: Sequence[RowResult]


def to_sheet(plan: PaperPlan, table: str | None = None) -> Sheet:
    """Return a sheet (tables with notes) on a paper's runs: a line for each table, or for each row of `table`."""
    notes: list[str] = []
    if table is None:
        tables = [_tables(plan)]
    else:
        tables = [_rows(plan, notes, plan.paper.tables[table].caption)]
        tables.append(results_table(plan.results, notes, "measured beside reported"))
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
    return Sheet(title, [each for each in tables if each.lines], notes=lines)


def as_values(plan: PaperPlan) -> dict[str, object]:
    """Return the runs, rows and results of a paper as {key: plain value} for JSON."""
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


def list_papers(papers: dict[str, Paper], rows: dict[str, int]) -> Table:
    """Return a table with a line for each paper: its name, title, tables and number of rows."""
    columns = [Column("paper"), Column("title"), Column("rows", Form.COUNT), Column("tables")]
    lines = [
        Line([Cell(name), Cell(paper.title), Cell(rows[name]), Cell(", ".join(paper.tables))])
        for name, paper in papers.items()
    ]
    return Table(columns, lines)


def remarks(row: PaperRow, figures: Sequence[PublishedScore]) -> list[str]:
    """Return reasons, known before any run, why a row's published scores cannot be expected to be reproduced."""
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


def _tables(plan: PaperPlan) -> Table:
    columns = [Column("table"), Column("of", Form.NAME)]
    columns += [Column(name, Form.COUNT) for name in ("rows", "runs", "done", "ready", "blocked")]
    lines = []
    for number, table in plan.paper.tables.items():
        rows = [row for row in plan.runs if row.table == number]
        items = _items(plan, rows)
        counts = [len(rows), len(items), sum(item.state == "done" for item in items)]
        counts += [sum(item.is_ready for item in items), sum(bool(item.lacks) for item in items)]
        lines.append(Line([Cell(number), Cell(table.caption), *map(Cell, counts), Cell(time_left(items))]))
    return Table([*columns, Column("time left", Form.FIGURES)], lines)


def _rows(plan: PaperPlan, notes: list[str], caption: str) -> Table:
    figures = [Column(head, Form.FIGURES) for head in ("batch", "epochs", "done", "time left")]
    columns = [Column("method", Form.NAME), Column("task"), *figures, Column("remarks")]
    lines = []
    for row in plan.runs:
        items = _items(plan, [row])
        settings = row.request.values
        trained = row.entry.checkpoint == "trained"
        keys = ("data.training.batch_size", "trainer.max_epochs")
        shown = [str(setting(settings, key)) if trained else None for key in keys]
        done = f"{sum(item.state == 'done' for item in items)} of {len(row.entry.folds)}"
        why = [plan.not_run[row]] if row in plan.not_run else []
        why += dict.fromkeys(item.refused for item in items if item.refused)
        remarked = refer(notes, [*why, *plan.remarks[row]])
        lines.append(Line([*map(Cell, (row.method, row.task, *shown, done, time_left(items), remarked))]))
    return Table(columns, lines, caption)


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
