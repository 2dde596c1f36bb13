"""Scores that counts do not hold, measured of runs when a table is asked for them."""

from collections.abc import Sequence
from functools import partial

from fsbench.protocols.reading import metric_named
from fsbench.records.record import Record
from fsbench.results.tables.compare import Measure
from fsbench.results.tables.rescoring.recount import Truth


def measure_for(metrics: Sequence[str]) -> Measure | None:
    """Return what measures a run for those of `metrics` that its counts do not give; None where all follow from them.

    It can be sent to another process.
    """
    if not any(metric_named(name).is_measured for name in metrics):
        return None
    from fsbench.results.tables.rescoring.measures import measure  # with OpenCV and torch, which other scores spare

    return partial(measure, metrics=metrics, open_truth=_open_truth)


def _open_truth(record: Record) -> Truth:
    # torch and Lightning: only who asks for scores beyond the counts waits for them
    from fsbench.runner.engine.stored_data import Truths

    return Truths(record)
