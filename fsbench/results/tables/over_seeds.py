"""Results that are means over the seeds of a test, in words below the tables of single seeds."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from fsbench.protocols.reading import metric_named
from fsbench.results.tables.blocks import Block, Row
from fsbench.scores.trivial import TRIVIAL


def means_over_seeds(blocks: Mapping[int, Block], seeds: Sequence[int]) -> list[str]:
    """Return a line for each method with its means over the seeds of a test, or with the seeds that it lacks.

    Nothing is averaged over some of the seeds, so that none is ever chosen.

    Args:
        blocks: by the test's seed, with runs of the same methods.
        seeds: those that the protocol's results are means over.
    """
    rows: dict[str, dict[int, Row]] = {}
    for seed in (seed for seed in seeds if seed in blocks):
        for row in blocks[seed].rows:
            if row.method not in TRIVIAL and (row.fold in ("mean", "all") or blocks[seed].folds == 1):
                rows.setdefault(row.method, {})[seed] = row
    named = ", ".join(map(str, seeds))
    lines = []
    lacking: dict[str, list[str]] = {}
    for method, of_seed in rows.items():
        missing = [str(seed) for seed in seeds if seed not in of_seed]
        if missing:
            lacking.setdefault(", ".join(missing), []).append(method)
            continue
        metrics = [name for name in blocks[seeds[0]].metrics if all(name in row.scores for row in of_seed.values())]
        scores = {name: [row.scores[name].value for row in of_seed.values()] for name in metrics}
        figures = [
            f"{name} {mean(values):.{metric_named(name).digits()}f} ± {stdev(values):.{metric_named(name).digits()}f}"
            for name, values in scores.items()
        ]
        lines.append(f"{method}, mean ± standard deviation over test seeds {named}: {', '.join(figures)}")
    lines += [
        f"the protocol's result is the mean over test seeds {named} (TEST_SEED=, --test-seed); seeds {missing} are "
        f"missing of {', '.join(methods)}"
        for missing, methods in lacking.items()
    ]
    return lines
