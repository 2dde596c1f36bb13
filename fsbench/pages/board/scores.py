"""The scores and costs of a row's runs of one test: a line for each fold, then their mean."""

from typing import Literal

from fsbench.pages.board import rows
from fsbench.results.rows.row import MEAN
from fsbench.results.table import Cell, Column, Form, Line, Table, score_cell
from fsbench.results.tables.columns import known_costs


def scores_table(cell: rows.Cell) -> Table:
    """Return a table of the scores and costs of a leaderboard row's runs on one test, fold by fold."""
    records = {str(fold): [run.record for run in trainings] for fold, trainings in cell.folds.items()}
    costs = {fold: [record.run.cost for record in own] for fold, own in records.items()}
    scores = {str(fold): of_fold for fold, of_fold in cell.scores_by_fold.items()}
    if cell.scores and len(records) > 1:
        scores[MEAN], costs[MEAN] = cell.scores, [cost for own in costs.values() for cost in own]
    shown = known_costs(costs.values())
    trainings = {str(fold): f"{len(own)}" for fold, own in cell.folds.items()}
    several = max(map(len, cell.folds.values())) > 1
    columns = [
        Column("fold"),
        *[Column("trainings", Form.FIGURES)] * several,
        *(Column(metric, Form.FIGURE, metric=metric) for metric in cell.metrics),
        *(each.column for each in shown),
        *(Column("runs", Form.NAME), Column("episodes (sha256)", Form.NAME)),
    ]
    lines = []
    for fold, of_fold in scores.items():
        own = records.get(fold, ())
        names = ", ".join(record.run.id for record in own), own[0].manifest_sha256[:16] if own else ""
        kind: Literal["method", "mean"] = "method" if fold in records else "mean"
        figures = [score_cell(of_fold.get(metric)) for metric in cell.metrics]
        number = [Cell(trainings.get(fold, ""))] * several
        lines.append(
            Line([Cell(fold), *number, *figures, *(each.cell(costs[fold]) for each in shown), *map(Cell, names)], kind)
        )
    return Table(columns, lines)
