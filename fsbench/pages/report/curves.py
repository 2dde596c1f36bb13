"""Read the learning curves that runs keep beside their records."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.files import read_text
from fsbench.records.grouping import all_runs, fold_of
from fsbench.results.rows.comparable import Methods

COLUMN = "val/mIoU"


@dataclass(frozen=True)
class Curve:
    """Validation mIoU of one run by epoch."""

    method: str
    fold: int
    epochs: list[int]
    values: list[float]


def read_curves(methods: Methods) -> list[Curve]:
    """Return the validation curves of all runs that have one; damaged lines are left out."""
    curves = []
    for label, runs in methods.items():
        for record in all_runs(runs):
            points = _read_points(record.path)
            if points:
                epochs = sorted(points)
                curves.append(Curve(label, fold_of(record), epochs, [points[epoch] for epoch in epochs]))
    return curves


def _read_points(run: Path) -> dict[int, float]:
    """Read epoch -> value; a resumed run has several files, of which later ones win."""
    points: dict[int, float] = {}
    for file in sorted((run / "curves").glob("version_*/metrics.csv")):
        with suppress(OSError, csv.Error, UnicodeDecodeError):
            for row in csv.DictReader(read_text(file, "log").splitlines()):
                with suppress(ValueError, TypeError):
                    if row.get(COLUMN):
                        points[int(float(row["epoch"]))] = float(row[COLUMN])
    return points
