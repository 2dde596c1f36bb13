"""Learning curves that runs keep beside their records."""

import csv
from contextlib import suppress
from dataclasses import dataclass

from fsbench.contenders import Methods

COLUMN = "val/mIoU"


@dataclass(frozen=True)
class Curve:
    """The validation's mIoU by epoch of one run."""

    method: str
    fold: int
    epochs: list[int]
    values: list[float]


def curves_of(methods: Methods) -> list[Curve]:
    """Of all runs that have one; a line that is damaged is left out."""
    found = []
    for label, runs in methods.items():
        for fold, record in runs.items():
            points: dict[int, float] = {}
            for file in sorted((record.path / "curves").glob("version_*/metrics.csv")):
                with suppress(OSError, csv.Error, UnicodeDecodeError), file.open(newline="") as opened:
                    for row in csv.DictReader(opened):
                        with suppress(ValueError, TypeError):
                            if row.get(COLUMN):
                                points[int(float(row["epoch"]))] = float(row[COLUMN])
            if points:
                epochs = sorted(points)
                found.append(Curve(label, fold, epochs, [points[epoch] for epoch in epochs]))
    return found
