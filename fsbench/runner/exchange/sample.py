"""The sample of a run's episodes that are predicted again, and what it shows of those that are not."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from math import comb

import numpy as np

CERTAINTY = 95
"""Percent of all samples for which a bound holds."""


def public_seed(bundle_sha256: str, public_value: str) -> str:
    """Return a seed from a bundle and a value that nobody knew when it was made.

    Whoever has both draws the same sample, and the bundle's maker could not foresee it.
    """
    return hashlib.sha256(f"{bundle_sha256} {public_value}".encode()).hexdigest()


def sample_episodes(numbers: Sequence[int], size: int, seed: str, run: str) -> list[int]:
    """Draw some of a run's episodes without replacement.

    Samples of different sizes share nothing: an honest prefix that served for a small one is of no use for a larger.

    Args:
        numbers: the numbers of all episodes.
        size: the size of the sample; all episodes if there are no more.
        seed: any text.
        run: id of the run, since each has a sample of its own.

    >>> sample_episodes(range(1000), 3, "a", "run") == sample_episodes(range(1000), 3, "a", "run")
    True
    """
    size = min(size, len(numbers))
    digest = hashlib.sha256(f"{seed} {size} {run}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    return [int(numbers[place]) for place in rng.choice(len(numbers), size, replace=False)]


def most_differing(episodes: int, sample: int) -> int:
    """Return an upper bound for the number of differing episodes, if none of a sample differs.

    It is the largest number D for which a sample without any of them is no rarer than 5 %: the exact bound of Clopper
    and Pearson, for draws without replacement (hypergeometric).

    Args:
        episodes: their number.
        sample: number of those that were drawn and agree.

    >>> most_differing(1000, 20), most_differing(1000, 1000), most_differing(10, 1)
    (137, 0, 9)
    """

    def is_too_rare(differing: int) -> bool:
        return 100 * comb(episodes - differing, sample) < (100 - CERTAINTY) * comb(episodes, sample)

    return bisect_left(range(1, episodes - sample + 1), True, key=is_too_rare)


def agreement(episodes: int, sample: int) -> str:
    """Say that a sample of episodes agrees, and how many of all may still differ.

    >>> agreement(1000, 20)
    '20 of 1000 episodes agree: with 95 % certainty fewer than 14 % of the episodes differ (at most 137)'
    >>> agreement(30, 30)
    'all 30 episodes agree'
    """
    if sample == episodes:
        return f"all {episodes} episodes agree"
    most = most_differing(episodes, sample)
    tenths = 1000 * most // episodes + 1
    percent = f"{tenths / 10:.1f}" if tenths < 10 else str(100 * most // episodes + 1)
    bound = f"with {CERTAINTY} % certainty fewer than {percent} % of the episodes differ (at most {most})"
    return f"{sample} of {episodes} episodes agree: {bound}"
