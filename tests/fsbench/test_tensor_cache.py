"""The memory of frozen features is bounded, and forgets big ones first, then what was used longest ago."""

import torch

from fsbench.tensor_cache import FeatureCache


def test_least_recently_used_goes_first():
    cache = FeatureCache(max_bytes=2 * 40)
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


def test_big_features_make_room_for_small_ones():
    cache = FeatureCache(max_bytes=240)
    small = [cache.get("support", i, lambda: torch.zeros(10)) for i in range(2)]
    cache.get("query", "a", lambda: torch.zeros(40))
    assert cache.get("query", "a", lambda: torch.ones(40)).sum() == 0
    cache.get("support", 2, lambda: torch.zeros(10))  # 280 bytes would be too many
    assert all(cache.get("support", i, lambda: torch.ones(10)) is small[i] for i in range(2))
    assert cache.get("query", "a", lambda: torch.ones(40)).sum() == 40


def test_a_big_newcomer_pushes_small_ones_out_when_nothing_else_is_there():
    cache = FeatureCache(max_bytes=200)
    for i in range(5):
        cache.get("support", i, lambda: torch.zeros(10))
    query = cache.get("query", "a", lambda: torch.zeros(40))
    assert cache.get("query", "a", lambda: torch.ones(40)) is query
    assert [float(cache.get("support", i, lambda: torch.ones(10))[0]) for i in (4, 0)] == [0, 1]


def test_what_does_not_fit_is_not_kept_and_pushes_nothing_out():
    cache = FeatureCache(max_bytes=40)
    small = cache.get("support", "small", lambda: torch.zeros(10))
    cache.get("support", "big", lambda: torch.zeros(11))
    assert cache.get("support", "small", lambda: torch.ones(10)) is small
    assert float(cache.get("support", "big", lambda: torch.ones(11))[0]) == 1


def test_a_cache_that_is_cleared_while_computing_keeps_the_result_and_the_bound():
    cache = FeatureCache(max_bytes=100)

    def compute():
        cache.clear()  # as when the backbone is rebuilt for another image size
        return torch.zeros(20)

    first = cache.get("query", "a", compute)
    assert cache.get("query", "a", compute) is first
    second = cache.get("query", "b", lambda: torch.ones(20))  # makes room by dropping the first
    assert cache.get("query", "b", compute) is second
