"""Results that are means over the seeds of a test, in words below the tables of single seeds."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from fsbench.results.rows.row import ALL, MEAN
from fsbench.results.sheets.cells import rounded
from fsbench.results.tables.blocks import Block
from fsbench.scores.estimate import Estimate


def means_over_seeds(blocks: Mapping[int, Block], seeds: Sequence[int]) -> list[str]:
    """Return a line for each method with its mean over a test's seeds, or with the missing seeds.

    No mean is taken over only some of the seeds, so that nobody can choose seeds.

    Args:
        blocks: {test seed: scores of the methods}.
        seeds: test seeds over which the protocol's results are means.
    """
    by_method: dict[str, dict[int, dict[str, Estimate]]] = {}
    for seed in (seed for seed in seeds if seed in blocks):
        for (method, fold), scores in blocks[seed].method_lines.items():
            if fold in (MEAN, ALL) or blocks[seed].folds == 1:
                by_method.setdefault(method, {})[seed] = scores
    named = ", ".join(map(str, seeds))
    lines = []
    lacking: dict[str, list[str]] = {}
    for method, of_seed in by_method.items():
        missing = [str(seed) for seed in seeds if seed not in of_seed]
        if missing:
            lacking.setdefault(", ".join(missing), []).append(method)
            continue
        metrics = [name for name in blocks[seeds[0]].metrics if all(name in own for own in of_seed.values())]
        values = {name: [own[name].value for own in of_seed.values()] for name in metrics}
        figures = [f"{name} {rounded(mean(own), name)} ± {rounded(stdev(own), name)}" for name, own in values.items()]
        lines.append(f"{method}, mean ± standard deviation over test seeds {named}: {', '.join(figures)}")
    lines += [
        f"the protocol's result is the mean over test seeds {named}. Not run yet: seeds {missing} of "
        f"{', '.join(methods)} (--test-seed)"
        for missing, methods in lacking.items()
    ]
    return lines
