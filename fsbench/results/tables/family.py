"""The comparisons that one command prints with a p: corrected together, and said in one line (statistics §7)."""

from collections.abc import Sequence
from math import isnan, nan

from fsbench.scores.decisions import family_weights, holm


def corrected_family(p: Sequence[float], main: Sequence[bool]) -> list[float]:
    """Correct the p-values of everything that is printed, by Holm's method with weights.

    Args:
        p: of each comparison; NaN where there is none, which is no part of the family.
        main: whether a comparison is of the first score on the whole test.

    Returns:
        The corrected values, NaN where there was none.

    Examples:
        >>> [round(p, 3) for p in corrected_family([0.01, nan, 0.02, 0.03], [True, False, False, False])]
        [0.013, nan, 0.2, 0.2]
    """
    known = [i for i, value in enumerate(p) if not isnan(value)]
    found = holm([p[i] for i in known], family_weights([main[i] for i in known])) if known else []
    corrected = dict(zip(known, found, strict=True))
    return [corrected.get(i, nan) for i in range(len(p))]


def family_note(comparisons: int) -> str:
    """Say for how many comparisons at once a star holds."""
    if comparisons == 1:
        return "* p below 0.05, the only comparison here"
    return f"* holds for all {comparisons} comparisons at once (p corrected by Holm's method, below 0.05)"
