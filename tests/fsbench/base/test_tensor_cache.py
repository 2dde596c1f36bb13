"""The memory of frozen features is bounded: big ones make room, then what is expected last or was used longest ago."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from fsbench.base.errors import ContractError, NumericsError
from fsbench.base.tensor_cache import FeatureCache


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
    for kind, key, length in (("support", 0, 10), ("query", "a", 40), ("support", 1, 10), ("support", 2, 10)):
        cache.get(kind, key, lambda length=length: torch.zeros(length))
    assert [cache.knows(key) for key in (0, "a", 1, 2)] == [True, False, True, True]


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
        cache.clear()  # as a method may whose weights change
        return torch.zeros(20)

    first = cache.get("query", "a", compute)
    assert cache.get("query", "a", compute) is first
    second = cache.get("query", "b", lambda: torch.ones(20))  # makes room by dropping the first
    assert cache.get("query", "b", compute) is second
    assert cache.entry_bytes() == {"query": 80}


def test_a_closed_cache_finds_what_it_has_and_keeps_nothing_new():
    cache = FeatureCache(max_bytes=100)
    kept = cache.get("query", "a", lambda: torch.zeros(10))
    with cache.closed():
        assert cache.get("query", "a", lambda: torch.ones(10)) is kept
        assert float(cache.get("query", "b", lambda: torch.ones(10))[0]) == 1
        assert cache.get("query", "empty", lambda: torch.zeros(0)).numel() == 0
        assert cache.bytes == 40
    assert float(cache.get("query", "b", lambda: torch.zeros(10))[0]) == 0
    assert cache.bytes == 80


def expecting(max_bytes, keys, places):
    """A cache with a tensor of 40 bytes for each key, of which the next uses are told."""
    cache = FeatureCache(max_bytes)
    for number, key in enumerate(keys):
        cache.get("support", key, lambda number=number: torch.full((10,), float(number)))
    for key, place in places.items():
        cache.expect(key, place)
    return cache


def test_what_is_expected_last_makes_room():
    cache = expecting(120, "abc", {"a": 3, "b": 9, "c": 4})
    cache.get("support", "d", lambda: torch.zeros(10))
    assert [cache.knows(key) for key in "abcd"] == [True, False, True, True]
    cache.get("support", "e", lambda: torch.zeros(10))  # d is in use for the first time: it stays
    assert [cache.knows(key) for key in "acde"] == [True, False, True, True]
    cache.expect("d", None)  # never again: it is dropped at once
    assert not cache.knows("d") and cache.bytes == 80
    cache.get("support", "d", lambda: torch.zeros(10))
    cache.expect("d", 5)
    cache.expect("e", 5)
    cache.get("support", "f", lambda: torch.zeros(10))  # of equal ones the older one goes
    assert [cache.knows(key) for key in "adef"] == [True, True, False, True]


def test_big_features_make_room_before_those_that_are_expected_later():
    cache = expecting(240, "ab", {"a": 99, "b": 98})
    cache.get("query", "c", lambda: torch.zeros(40))
    cache.expect("c", 1)
    cache.get("support", "d", lambda: torch.zeros(10))
    assert [cache.knows(key) for key in "abcd"] == [True, True, False, True]


def test_forgotten_expectations_leave_the_order_of_last_use():
    cache = expecting(120, "abc", {"a": 9, "b": 3, "c": 4})
    cache.forget_expectations()
    cache.get("support", "a", lambda: torch.zeros(10))
    for number, gone in enumerate("bca"):
        cache.get("support", f"new {number}", lambda: torch.zeros(10))
        assert not cache.knows(gone) and cache.bytes == 120


def test_what_is_left_over_makes_room_before_what_is_expected():
    cache = expecting(120, "abc", {})
    cache.forget_expectations()
    for place, key in enumerate("bdb"):  # what is used again is no longer left over
        cache.get("support", key, lambda: torch.zeros(10))
        cache.expect(key, 9 + place)
    assert [cache.knows(key) for key in "abcd"] == [False, True, True, True]
    cache.get("support", "e", lambda: torch.zeros(10))
    assert [cache.knows(key) for key in "bcde"] == [True, False, True, True]


@pytest.mark.parametrize("seed", range(3))
def test_foresight_misses_as_often_as_beladys_rule(seed):
    uses = torch.randint(12, (200,), generator=torch.Generator().manual_seed(seed)).tolist()
    misses = []
    for tells in (True, False):
        cache = FeatureCache(5 * 40)
        for place, key in enumerate(uses):
            cache.get("support", key, lambda: torch.zeros(10))
            later = [other for other in range(place + 1, len(uses)) if uses[other] == key]
            if tells:
                cache.expect(key, later[0] if later else None)
        misses.append(cache.misses)
    assert misses[0] == beladys_misses(uses, 5) < misses[1]


def beladys_misses(uses, room):
    """Return the misses by the rule's definition: what is used last makes room for what comes."""
    kept, misses = set(), 0
    for place, key in enumerate(uses):
        rest = uses[place + 1 :]
        if key not in kept:
            misses += 1
            if len(kept) == room:
                kept.remove(max(kept, key=rest.index))
        kept = {*kept, key} if key in rest else kept - {key}
    return misses


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("bound", [0, 20, 10**6])
def test_a_value_in_a_narrow_type_does_not_depend_on_what_is_kept(dtype, bound):
    """It is the rounded one from the first time on, a float32 tensor again; other types pass as they are."""
    cache = FeatureCache(bound, dtype)
    values = {i: torch.randn(10, generator=torch.Generator().manual_seed(i)) for i in range(4)}
    for i in [0, 0, 1, 2, 3, 0, 1, 1, 3, 2]:
        value, number = cache.get("pair", i, lambda i=i: (values[i], torch.tensor(2**20 + 1)))
        assert value.dtype == torch.float32 and number == 2**20 + 1
        assert torch.equal(value, values[i].to(getattr(torch, dtype)).float())
        assert not torch.equal(value, values[i])
        assert cache.bytes <= bound
    narrow = FeatureCache(10**6, dtype)
    narrow.get("one", 0, lambda: values[0])
    assert narrow.bytes == 20


def test_a_value_beyond_float16_is_named():
    cache = FeatureCache(max_bytes=40, dtype="float16")
    with pytest.raises(NumericsError, match=r"features reach 7e\+04, expected at most 65504"):
        cache.get("support", 0, lambda: torch.full((10,), -7e4))


def test_what_is_kept_of_an_image_under_several_masks_comes_and_goes_with_the_image():
    cache = FeatureCache(1000)
    for key in ("a", ("a", "mask"), ("a", "other mask"), ("b", "mask")):
        cache.get("states", key, lambda: (torch.zeros(10), [torch.zeros(5)]))
    assert cache.bytes == 240
    cache.expect("a", None)
    assert cache.bytes == 60 and cache.get("states", ("b", "mask"), pytest.fail)[1][0].shape == (5,)


def test_exact_values_keep_their_type():
    cache, value = FeatureCache(1000, "bfloat16"), torch.tensor([1.001, 2.0])
    for compute in (lambda: value, pytest.fail):
        assert torch.equal(cache.get("states", "a", compute, is_derived=True), value)
    assert cache.get("features", "a", lambda: value).tolist() == [1.0, 2.0]


class Pair(NamedTuple):
    one: Any
    other: Any


@dataclass(frozen=True)
class Side:
    one: Any
    other: Any = None


def test_containers_are_kept_as_they_are():
    cache, numbers = FeatureCache(1000, "bfloat16"), torch.tensor([1.001, 2.0, 3.0])
    for compute in (lambda: Side({"a": numbers[:2], 3: None}, [Pair("text", numbers), (True, 0.5)]), pytest.fail):
        found = cache.get("states", "a", compute)
        assert isinstance(found, Side) and found.one[3] is None and found.one["a"].tolist() == [1.0, 2.0]
        (text, rounded), rest = found.other
        assert isinstance(found.other[0], Pair) and (text, rest) == ("text", (True, 0.5))
        assert rounded.dtype == torch.float32 and rounded.tolist() == [1.0, 2.0, 3.0]
    assert cache.bytes == 2 * (2 + 3) and cache.entry_bytes() == {"states": 10}
    cache.forget("a")
    assert cache.bytes == 0


@pytest.mark.parametrize("value", [iter([torch.zeros(1)]), {torch.zeros(1)}, object()], ids=lambda v: type(v).__name__)
def test_what_cannot_be_kept_is_refused_by_its_type(value):
    with pytest.raises(ContractError, match=f"keep a value of type {type(value).__name__}; expected a tensor, or"):
        FeatureCache(1000).get("states", "a", lambda: (torch.zeros(1), value))


def test_an_image_is_counted_once_where_what_follows_from_its_features_is_kept_too():
    cache, counts = FeatureCache(1000), []

    def look(mask):
        features = cache.get("features", "a", lambda: torch.ones(3))
        return 2 * features * mask

    for mask in (1, 1, 2, 2):
        cache.get("states", ("a", mask), lambda mask=mask: look(mask), is_derived=True)
        counts.append((cache.hits, cache.misses))
    assert counts == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_what_is_kept_takes_the_memory_that_is_counted():
    """Features of a batch are parts of one tensor: what is kept of one image must not hold the others' memory."""
    cache = FeatureCache(max_bytes=1 << 20)
    batch, stages = torch.randn(16, 10, 4), torch.randn(2, 3, 8)
    for row in (3, 9):
        assert torch.equal(cache.get("tokens", row, lambda row=row: batch[row]), batch[row])
    cache.get("stages", 3, lambda: (stages[0, :, :4], stages[1]))
    own = torch.zeros(5)
    assert cache.get("own", 0, lambda: own) is own  # nothing is copied that lies alone
    kept = [cache.get(*key, pytest.fail) for key in (("tokens", 3), ("tokens", 9), ("stages", 3), ("own", 0))]
    tensors = [tensor for value in kept for tensor in (value if isinstance(value, tuple) else (value,))]
    memory = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    assert sum(memory.values()) == cache.bytes == 4 * (2 * 40 + 12 + 24 + 5)
