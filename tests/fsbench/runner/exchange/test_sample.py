"""Samples of episodes that are predicted again: nobody foresees them, and their bounds are exact."""

import numpy as np
from scipy.stats import hypergeom

from fsbench.runner.exchange.sample import agreement, most_differing, public_seed, sample_episodes


def test_the_bound_is_the_exact_one_and_is_said():
    """Compared with scipy: one more differing episode would be missed by fewer than 5 % of the samples."""
    for episodes, sample in ((1000, 20), (1000, 400), (1000, 999), (30, 5), (2, 1)):
        most = most_differing(episodes, sample)
        missed = [hypergeom.pmf(0, episodes, number, sample) for number in range(episodes - sample + 1)]
        assert most == max(number for number, chance in enumerate(missed) if chance >= 0.05)
        percent = float(agreement(episodes, sample).split("fewer than ")[1].split(" %")[0])
        assert most < percent * episodes / 100


def test_a_forgery_is_found_as_often_as_is_said():
    """With 138 of 1000 episodes forged, samples of 20 find one in 95 of 100 cases, also where the forger left those
    honest that seed 0 draws."""
    honest = set(np.random.default_rng(0).permutation(1000)[:862].tolist())
    found = sum(bool(set(sample_episodes(range(1000), 20, str(seed), "run")) - honest) for seed in range(2000))
    expected = 1 - hypergeom.pmf(0, 1000, 138, 20)
    assert expected > 0.95 and abs(found / 2000 - expected) < 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_samples_are_repeated_by_their_seed_alone():
    drawn = sample_episodes(range(100), 10, "seed", "run")
    assert drawn == sample_episodes(range(100), 10, "seed", "run") and len({*drawn}) == 10
    assert drawn != sample_episodes(range(100), 10, "another seed", "run")
    assert drawn != sample_episodes(range(100), 10, "seed", "another run")
    assert drawn != sample_episodes(range(100), 11, "seed", "run")[:10]  # no prefix of a larger sample
    assert sorted(sample_episodes([4, 7], 10, "seed", "run")) == [4, 7]
    public = public_seed("0" * 64, "merge commit")
    assert public not in (public_seed("1" * 64, "merge commit"), public_seed("0" * 64, "another commit"))
