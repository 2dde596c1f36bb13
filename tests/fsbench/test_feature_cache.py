"""The memory of frozen features is bounded, per kind, and forgets what was used longest ago."""

import torch

from fsbench.feature_cache import FeatureCache


def test_least_recently_used_goes_first():
    cache = FeatureCache(max_bytes=2 * 2 * 40)  # two kinds, two tensors of 40 bytes each
    made = []

    def make(key):
        def compute():
            made.append(key)
            return torch.zeros(10)

        return compute

    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get("support", key, make(key))
    assert made == ["a", "b", "c", "b"]
    assert (cache.hits, cache.misses) == (2, 4)


def test_kinds_do_not_push_each_other_out():
    cache = FeatureCache(max_bytes=2 * 40)
    first = cache.get("support", "x", lambda: torch.zeros(10))
    cache.get("query", "x", lambda: torch.ones(10))
    cache.get("query", "y", lambda: torch.ones(10))
    assert cache.get("support", "x", lambda: torch.ones(10)) is first


def test_what_does_not_fit_is_not_kept_and_pushes_nothing_out():
    cache = FeatureCache(max_bytes=2 * 40)
    small = cache.get("support", "small", lambda: torch.zeros(10))
    cache.get("support", "big", lambda: torch.zeros(11))
    assert cache.get("support", "small", lambda: torch.ones(10)) is small
    assert float(cache.get("support", "big", lambda: torch.ones(11))[0]) == 1
