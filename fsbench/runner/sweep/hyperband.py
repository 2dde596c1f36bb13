"""Hyperband's early end of trainings, as W&B's sweeps have it: brackets at numbers of validations.

A run that comes to a bracket goes on if its best value until there is among the best 1/eta of all runs that have come
there, itself included and one at least. With `strict` it must be so at every bracket that it has passed; otherwise
only the latest is asked. Li et al., Hyperband (JMLR 2018), and the asynchronous rule of Li et al. (MLSys 2020).
"""

import math
from collections.abc import Sequence

from fsbench.runner.sweep.spec import Hyperband


def brackets(rule: Hyperband, longest: int) -> list[int]:
    """Return the numbers of validations at which runs are compared, up to `longest`.

    >>> brackets(Hyperband(type="hyperband", min_iter=3), 100)
    [3, 9, 27, 81]
    >>> brackets(Hyperband(type="hyperband", max_iter=27, s=2), 100)
    [3, 9]
    """
    found: list[int] = []
    if rule.min_iter is not None:
        at = float(rule.min_iter)
        while at <= longest:
            found.append(int(at))
            at *= rule.eta
    elif rule.max_iter is not None and rule.s is not None:
        found = [int(rule.max_iter / rule.eta**step) for step in range(rule.s, 0, -1)]
    return sorted({at for at in found if 1 <= at <= longest})


def is_stopped(own: Sequence[float], others: Sequence[Sequence[float]], rule: Hyperband, sign: int) -> bool:
    """Return whether a run ends at the latest bracket that it has come to.

    Args:
        own: the values of its validations so far.
        others: those of the other runs of the sweep, ended or not.
        rule: of the sweep.
        sign: 1 where more is better, -1 where less is.
    """
    passed = brackets(rule, len(own))
    for at in passed if rule.strict else passed[-1:]:
        best = max(sign * value for value in own[:at])
        there = sorted([best, *(max(sign * value for value in other[:at]) for other in others if len(other) >= at)])
        kept = max(1, math.floor(len(there) / rule.eta))
        if best < there[-kept]:
            return True
    return False
