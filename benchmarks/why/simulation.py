"""Disputes that are planned, made, and asked about, run by run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.why.disputes import draw, plan
from benchmarks.why.results import Outcome
from benchmarks.why.samples import disputed_runs
from benchmarks.why.verdicts import ask


def simulate(seed: int, number: int, samples: Sequence[str], runs: Path) -> Iterator[list[Outcome]]:
    """Ask about the disputes 0 to `number` - 1 of a seed, and yield the outcomes of each run.

    A dispute follows from the seed, its number and the samples alone. Where no other digits were to be had it is left
    out.

    Args:
        seed: of everything that is drawn.
        number: of disputes.
        samples: keys of `benchmarks.why.samples.SAMPLES`.
        runs: folder of the runs.

    Raises:
        DataError: the data of a sample are not at hand.
    """
    plans = [plan(seed, place, samples) for place in range(number)]
    for sample in samples:
        methods = sorted({one.method for one in plans if one.sample == sample})
        for run in disputed_runs(sample, seed, runs, methods) if methods else ():
            disputes = [draw(one, run, seed) for one in plans if (one.sample, one.method) == (sample, run.method)]
            yield [Outcome.of(one, ask(one, run)) for one in disputes if one is not None]
