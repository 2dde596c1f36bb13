"""Checkpoints are plain values for every reader, and come back with the types that they had."""

import io
import random
import signal
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from enum import Enum, StrEnum
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fsbench.base.errors import CheckpointError
from fsbench.networks.weights.files import read_checkpoint
from fsbench.networks.weights.plain import TYPES, plain_checkpoint, restored_checkpoint


class Word(StrEnum):
    ONE = "one"


class Number(Enum):
    ONE = 1


Pair = namedtuple("Pair", "a b")


def read_anywhere(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize(
    "value",
    [
        None, 1, 2**127, -1.5, 1j, "word", True, (1, [2.0, {"a": ()}]), b"", b"ab", bytearray(b"x"), torch.float16,
        torch.Size([2]), np.float32(0.1), np.float64(0.1), np.int64(2**62), np.bool_(True), np.str_("ab"),
        np.complex64(1j), np.arange(6.0).reshape(2, 3)[:, ::-1], np.zeros((0, 3), np.uint16), np.array(2.5),
        {1, 2}, frozenset("a"), deque([np.float32(1), {2}], 3), deque(), defaultdict(list, a=[np.int8(1)]),
        defaultdict(None), Counter("aab"), OrderedDict(b=1, a=np.int64(2)), Path("a/b"),
        Namespace(rate=np.float64(1), where=[Path("c")]), random.Random(3).getstate(),
        np.random.default_rng(1).bit_generator.state, {("a", 1): Path("x"), None: {3: np.float16(1)}},
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:20]}",
)  # fmt: skip
def test_a_value_comes_back_with_its_type(value):
    found = restored_checkpoint(read_anywhere(plain_checkpoint({"x": value, "state_dict": {}})))
    assert repr(found["x"]) == repr(value) or (type(value) in (set, frozenset) and found["x"] == value)
    assert type(found["x"]) is type(value) and TYPES not in found


def test_a_reader_that_does_not_know_the_notes_finds_equal_values():
    found = read_anywhere(
        plain_checkpoint({"lr": [np.float64(0.1)], "at": {np.int64(3): np.arange(2)}, "s": {"b", "a"}})
    )
    assert found["lr"] == [0.1] and found["at"][3].tolist() == [0, 1] and found["s"] == ["a", "b"]
    plain = {"a": (1, "x"), "t": torch.ones(2)}
    assert plain_checkpoint(plain).keys() == plain.keys()  # no notes where there is nothing to note


def test_texts_and_numbers_of_other_classes_are_equal_plain_ones():
    found = read_anywhere(plain_checkpoint({"torch": torch.__version__, "mode": Word.ONE, "signal": signal.SIGINT}))
    assert found == {"torch": str(torch.__version__), "mode": "one", "signal": 2}
    assert {type(value) for value in found.values()} == {str, int}


def test_an_entry_that_contains_itself_is_said():
    entry: list = []
    entry.append(entry)
    with pytest.raises(CheckpointError, match="an entry that contains itself"):
        plain_checkpoint({"mine": entry})


def test_versions_of_modules_are_kept():
    state = nn.BatchNorm1d(2).state_dict()
    assert read_anywhere(plain_checkpoint({"state_dict": state}))["state_dict"]._metadata == state._metadata


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Number.ONE, "Number"), (Pair(1, 2), "Pair"), (partial(int, "1"), "partial"),
        (len, "builtin"),
        (Number, "EnumType"), (nn.Linear(1, 1), "Linear"), (defaultdict(lambda: 1), "defaultdict"),
        (np.array([object()]), "ndarray"), (np.datetime64("2020-01-01"), "datetime64"), ({Path("x"): 1}, "PosixPath"),
        (torch.ones(1).as_subclass(type("Own", (torch.Tensor,), {})), "Own"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_value_that_cannot_be_plain_is_told_by_its_place(value, kind):
    with pytest.raises(CheckpointError, match=rf"would hold callbacks: Mine: best: 1.* \({kind}"):
        plain_checkpoint({"callbacks": {"Mine": {"best": [0, value]}}})


@pytest.mark.parametrize(
    "notes",
    [5, {("x",): 1}, {("x",): ("exec", None)}, {("x",): ("namespace", None)}, {("x",): ("numpy number", "no type")},
     {("x",): ("defaultdict", "eval")}],
    ids=str,
)  # fmt: skip
def test_notes_that_do_not_fit_are_said(tmp_path, notes):
    torch.save({"state_dict": {}, "x": "y", TYPES: notes}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=f"its entry {TYPES}"):
        read_checkpoint(tmp_path / "x.ckpt")
