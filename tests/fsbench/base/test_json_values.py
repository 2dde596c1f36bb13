"""Settings as values of JSON, by type and value."""

import json
from argparse import Namespace
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock

import numpy as np
import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.base.json_values import json_value


class Colour(Enum):
    RED = 1
    BLUE = 2


class Plain:
    """An object that shows no more than its address."""

    def __init__(self, rate):
        self.rate = rate

    def scaled(self, by):
        return self.rate * by


class Slots:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate


@dataclass
class Pair:
    first: object
    second: object


ALIKE = [1, 1.5, True, None, "text", [1, "a"], {"a": {"b": [None]}}]
DIFFERENT = [
    torch.device("cpu"), torch.device("cuda", 1), torch.float16, timedelta(minutes=3), timedelta(3), Path("a"),
    Path("b"), Colour.RED, Colour.BLUE, {1, 2}, {1, 3}, frozenset({1, 2}), b"a", 1j, Plain(1), Plain(2),
    Pair(1, Colour.RED), Pair(1, Colour.BLUE), np.float32(1), np.arange(3), torch.arange(2000), torch.arange(2000) + 1,
    torch.optim.Adam, torch.optim.SGD, json.dumps, range(3), "cpu", "0:03:00", 1, 1.5,
    partial(json.dumps, 3), partial(json.dumps, 4), partial(json.loads, 3), partial(json.dumps, indent=3),
    Plain(1).scaled, Plain(2).scaled, [1].append, [2].append, Slots(1), Slots(2), deque([Plain(1)]), deque([Plain(2)]),
]  # fmt: skip


@pytest.mark.parametrize("value", ALIKE)
def test_a_value_of_json_stands_for_itself(value):
    assert json_value(value) == value and json.loads(json.dumps(json_value(value))) == value


def test_other_values_are_told_by_type_and_value():
    texts = [json.dumps(json_value({"setting": [value]})) for value in DIFFERENT]
    assert len(set(texts)) == len(DIFFERENT) and " at 0x" not in "".join(texts)
    assert json_value(timedelta(3)) == {"type": "datetime.timedelta", "value": "datetime.timedelta(days=3)"}
    assert json_value(torch.device("cpu")) == {"type": "torch.device", "value": "device(type='cpu')"}
    assert json_value({"b", "a", "c"}) == {"type": "set", "value": ["a", "b", "c"]}
    assert json_value(Path("a")) == json_value(PurePosixPath("a")) == {"type": "path", "value": "a"}
    assert json_value(torch.optim.Adam) == {"type": "name", "value": "torch.optim.adam.Adam"}


def test_equal_objects_are_told_alike():
    for make in (lambda: partial(json.dumps, Plain(1)), lambda: Plain(1).scaled, lambda: Slots(Plain(1))):
        assert json_value(make()) == json_value(make())


def cyclic() -> Plain:
    value = Plain(1)
    value.rate = [value]
    return value


@pytest.mark.parametrize(
    ("value", "found"),
    [(cyclic(), "Plain that holds itself"), ([lambda rate: rate], "<lambda>"), (partial(lambda rate: rate), "<lambda>"),
     ({"setting": Lock()}, "_thread.lock")],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(value, found):
    with pytest.raises(SettingsError, match=found):
        json_value(value)


def test_groups_of_the_parser_and_tuples_are_plain():
    assert json_value([Namespace(a=(1, 2)), {3: "b"}]) == [{"a": [1, 2]}, {3: "b"}]
    assert json.loads(json.dumps(json_value({Colour.RED: 1, (1, 2): 2}))).keys() == {
        f"{__name__}.Colour RED", "tuple [1, 2]"
    }  # fmt: skip
