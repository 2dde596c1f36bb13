"""What a method costs, from its runs, and which methods no other one beats at a lower cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fsbench.records import Record
from fsbench.report.collect import Study
from fsbench.stats import Interval

COSTS = {
    "trainable": "trainable parameters",
    "total": "all parameters",
    "seconds": "seconds per episode",
    "memory": "peak memory (MiB)",
}


@dataclass(frozen=True)
class Cost:
    """A method's score and, where its runs say them, its costs by the names of `COSTS`."""

    method: str
    score: Interval
    values: dict[str, float | None]


def costs_of(study: Study, metric: str) -> list[Cost]:
    """Of the methods with a score: the mean of the seconds of its runs, the largest of the rest."""
    return [
        Cost(row.method, row.scores[metric], _values(list(study.methods[row.method].values())))
        for row in study.shown_rows
        if metric in row.scores
    ]


def _values(runs: Sequence[Record]) -> dict[str, float | None]:
    def known(key: str) -> list[float]:
        return [float(run.run["cost"][key]) for run in runs if run.run["cost"].get(key) is not None]

    return {
        "trainable": max(known("trainable_parameters"), default=None),
        "total": max(known("total_parameters"), default=None),
        "seconds": fmean(1 / speed for speed in known("episodes_per_second")) if known("episodes_per_second") else None,
        "memory": max(known("peak_mib"), default=None),
    }


def devices(study: Study) -> list[str]:
    """Where time and memory were measured."""
    found = (record.run.get("provenance", {}).get("device") for record in study.records)
    return sorted({str(device) for device in found if device})


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of (cost, score) no other point beats: none costs less or the same at a higher score, none costs less at
    the same."""
    return [
        i
        for i, (cost, score) in enumerate(points)
        if not any((c <= cost and s > score) or (c < cost and s >= score) for c, s in points)
    ]
