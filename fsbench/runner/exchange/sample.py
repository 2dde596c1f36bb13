"""The sample of a run's episodes that are predicted again, and what it shows of those that are not."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from math import comb

import numpy as np

CERTAINTY = 95
"""Percent of all samples for which a bound holds."""


def public_seed(bundle_sha256: str, public_value: str) -> str:
    """Return a random seed made from a bundle's hash and a public value that nobody knew when the bundle was made.

    Everybody can repeat the sample that it draws, and the bundle's maker could not foresee it.
    """
    return hashlib.sha256(f"{bundle_sha256} {public_value}".encode()).hexdigest()


def sample_episodes(numbers: Sequence[int], size: int, seed: str, run: str) -> list[int]:
    """Draw the numbers of some of a run's episodes at random, without replacement.

    Samples of different sizes are drawn independently, so that nobody can prepare for a larger one by a smaller one.

    Args:
        numbers: the numbers of all episodes.
        size: the size of the sample; all episodes if there are no more.
        seed: any text, such as that of `public_seed`.
        run: id of the run; each run has its own sample.

    >>> sample_episodes(range(1000), 3, "a", "run") == sample_episodes(range(1000), 3, "a", "run")
    True
    """
    size = min(size, len(numbers))
    digest = hashlib.sha256(f"{seed} {size} {run}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    return [int(numbers[place]) for place in rng.choice(len(numbers), size, replace=False)]


def most_differing(episodes: int, sample: int) -> int:
    """Return a 95 % upper bound for the number of a run's differing episodes, if none of a sample differs.

    It is the largest number of differing episodes with which such a sample has a probability of at least 5 % (the exact
    bound of Clopper and Pearson, for draws without replacement).

    Args:
        episodes: number of all episodes.
        sample: number of episodes that were drawn, which all agree.

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
    '30 of 30 episodes agree'
    """
    if sample == episodes:
        return f"{episodes} of {episodes} episodes agree"
    most = most_differing(episodes, sample)
    tenths = 1000 * most // episodes + 1
    percent = f"{tenths / 10:.1f}" if tenths < 10 else str(100 * most // episodes + 1)
    bound = f"with {CERTAINTY} % certainty fewer than {percent} % of the episodes differ (at most {most})"
    return f"{sample} of {episodes} episodes agree: {bound}"
