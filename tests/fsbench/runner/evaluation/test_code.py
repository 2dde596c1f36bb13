"""The hash of a function's code tells a change wherever it is, and nothing else."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from fsbench.runner.evaluation.code import code_sha256

BEFORE = """
import functools
import numpy as np
LIMIT = 0.5
WORDS = {"a", "b", "c"}
def helper(values, *, power=2):
    return [value ** power for value in values if value in {"x", "y", "z"}]
class Base:
    side = 3
    def __call__(self, episode):
        return self.answer(episode)
class Model(Base):
    def __init__(self, threshold=0.5):
        self.threshold, self.weights = threshold, np.zeros(3)
    @property
    def light(self):
        return 1
    @staticmethod
    def plain():
        return 2
    def answer(self, episode):
        return helper(episode) > LIMIT
def function(episode, k=1):
    def inner():
        return helper(episode)
    return inner() + k
wrapped = functools.lru_cache(function)
"""
MODELS = [
    "function",
    "Model()",
    "Model().answer",
    "wrapped",
    "functools.partial(function, k=1)",
    "lambda e: function(e)",
]


def digest(code, model):
    names = {"__name__": "__main__"}
    exec(code, names)
    return code_sha256(eval(model, names))


@pytest.mark.parametrize("model", MODELS)
def test_a_change_is_seen_wherever_it_is(model):
    first = digest(BEFORE, model)
    assert digest("# a comment\n" + BEFORE, model) == first
    assert digest(BEFORE.replace("power=2", "power=3"), model) != first
    assert digest(BEFORE.replace("value ** power", "value * power"), model) != first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("side = 3", "side = 4"), ("LIMIT = 0.5", "LIMIT = 0.6"), ("threshold=0.5", "threshold=0.6"),
        ("return 1", "return 3"), ("return 2", "return 3"), ("self.answer(episode)", "1 + self.answer(episode)"),
    ],
)  # fmt: skip
def test_a_class_is_compared_with_its_bases_and_what_an_object_holds_in_numbers(old, new):
    assert digest(BEFORE.replace(old, new), "Model()") != digest(BEFORE, "Model()")


def test_what_is_installed_or_held_in_arrays_is_not_looked_at():
    def closes_over(values):
        return lambda episode: np.argmax(values) + partial(sum, [1])()

    assert code_sha256(closes_over(np.zeros(3))) == code_sha256(closes_over(np.ones(3)))
    assert code_sha256(closes_over(1)) != code_sha256(closes_over(2))


@pytest.mark.parametrize(("one", "other"), [(len, max), (subprocess.run, subprocess.call), (np.float32, np.float64)])
def test_installed_code_is_compared_by_its_name(one, other):
    assert code_sha256(lambda episode: one(episode)) != code_sha256(lambda episode: other(episode))
    assert code_sha256(one) != code_sha256(other)


def test_it_is_the_same_in_another_process():
    program = f"from {__name__} import *\nprint(*(digest(BEFORE, model) for model in MODELS))"
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert there.stdout.split() == [digest(BEFORE, model) for model in MODELS]
