"""Each check passes a sound method and finds the one that breaks its rule."""

import os
import re
from concurrent.futures import Future
from functools import cache

import pytest

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.runner.contract import shipping
from fsbench.runner.contract.subject import Subject
from fsbench.runner.contract.suite import CHECKS, run_check
from tests.fsbench.runner.contract import broken

BROKEN = {
    "shapes": (broken.WrongSize, r"label_map \(23, 37\)"),
    "ways-and-shots": (broken.OneWay, "AssertionError"),
    "empty-supports": (broken.NeedsForeground, "NaN or infinity"),
    "empty-query": (broken.NeedsObject, "NaN or infinity"),
    "inputs": (broken.Overwrites, "images of an episode changed by the method"),
    "determinism": (broken.Draws, "two runs that differ"),
    "batch": (broken.ReadsBatch, "otherwise in a batch than alone"),
    "other-episodes": (broken.LooksUp, "4 of 4 episodes answered otherwise where others had shown their queries"),
    "truth": (broken.ReadsTruth, r"asks for the truth \(broken.py, line \d+\)"),
    "way-order": (broken.FirstWay, "change with the order of the ways"),
    "half-precision": (broken.Overflows, "inf times as far from fp32"),
    "another-process": (broken.Unpicklable, "cannot be pickled"),
    "checkpoint": (broken.Unsaved, "other answers after loading"),
    "gradients": (broken.DeadParameter, "no gradient for unused.weight, unused.bias"),
    "overfit": (broken.LearnsNothing, "loss 1 before and 1 after 100 steps"),
    "memory": (broken.Leaks, "live tensors"),
    "export": (broken.ExportedOtherwise, r"labels of a graph that are not the method's"),
}
EACH = [pytest.param(name, marks=pytest.mark.slow(3)) if name == "memory" else name for name in CHECKS]


@pytest.mark.parametrize("name", EACH)
def test_a_method_that_breaks_the_rule_is_found(name):
    method, message = BROKEN[name]
    outcome = run_check(name, Subject(method, 32, memory_episodes=40))
    assert outcome.status == "failed", outcome
    assert re.search(message, outcome.text), outcome.text
    assert "expected" in outcome.text


@pytest.mark.parametrize(
    ("covered", "message"),
    [
        ((1,), r"authors_shots is \(1,\); expected None, or ascending numbers and a reason"),
        (AuthorsShots((5, 1), "no other is laid out"), "expected None, or ascending numbers"),
        (AuthorsShots((1, True), "no other is laid out"), "expected None, or ascending numbers"),
        (AuthorsShots((1,), ""), "expected None, or ascending numbers and a reason"),
        (AuthorsShots((1, 3), "no other is laid out"), "authors_shots covers 3, which check_shots refuses: 3 shots"),
    ],
)
def test_words_on_the_authors_rule_for_shots_are_checked(covered, message):
    class Says(broken.Sound):
        authors_shots = covered

        def check_shots(self, test, training):
            if test == 3:
                raise SettingsError("3 shots")

    outcome = run_check("ways-and-shots", Subject(Says, 32))
    assert outcome.status == "failed" and re.search(message, outcome.text), outcome
    Says.authors_shots = AuthorsShots((1, 5), "no other is laid out")
    assert run_check("ways-and-shots", Subject(Says, 32)).status == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, method) for name, (method, _) in BROKEN.items()),
        ("inputs", broken.OverwritesMasks), ("batch", broken.Remembers), ("truth", broken.DigsForTruth),
    ],
)  # fmt: skip
def test_each_fault_has_one_check(name, method):
    """The others pass, or say which check tells more; a graph that lacks the fault answers otherwise, of course."""
    beside = ("another-process", "overfit", "memory", "export")
    chosen = [check for check in CHECKS if check == name or check not in beside]
    subject = Subject(method, 32, memory_episodes=40)
    outcomes = {check: run_check(check, subject) for check in chosen}
    assert [check for check, outcome in outcomes.items() if outcome.status == "failed"] == [name], outcomes


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (broken.SilentAttention, "attention_meaning is empty"),
        (broken.LoudAttention, r"attention in .*\.\..*0\.\.1"),
        (broken.EagerAttention, "attention where keeps_soft_masks is False"),
    ],
)
def test_attention_has_a_meaning_is_a_share_and_costs_nothing_unasked(method, message):
    outcome = run_check("shapes", Subject(method, 32))
    assert outcome.status == "failed" and re.search(message, outcome.text), outcome


@pytest.mark.parametrize("name", [name for name in EACH if name not in ("another-process", "overfit")])
def test_a_sound_method_passes(name):
    outcome = run_check(name, Subject(broken.Sound, 32, memory_episodes=40))
    assert outcome.status == "ok", outcome


def test_answers_that_differ_in_the_other_process_are_found(monkeypatch):
    class Here:
        """Stands for the process: its answers are of another episode."""

        def submit(self, call, shipped, arguments, episodes, threads):
            self.found = call(shipped, arguments, episodes[::-1], threads)
            return self

        def result(self, timeout):
            return self.found

    monkeypatch.setattr(shipping, "_process", Here)
    outcome = run_check("another-process", Subject(broken.Sound, 32))
    assert outcome.status == "failed" and "other answers in another process" in outcome.text


class EndsThere(broken.Sound):
    """Ends the process in which it is unpickled."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_a_process_that_ends_is_said_and_the_next_method_gets_another():
    outcome = run_check("another-process", Subject(EndsThere, 32))
    assert outcome.status == "failed" and "ended before it answered" in outcome.text
    assert shipping._process.cache_info().currsize == 0


def test_a_process_that_gives_no_answer_is_not_waited_for(monkeypatch):
    class Hung:
        """Stands for the pool: its answers never come."""

        def __init__(self):
            self._processes = {}

        def submit(self, *arguments):
            return Future()

    monkeypatch.setattr(shipping, "_process", cache(Hung))
    monkeypatch.setattr(shipping, "SECONDS", 0.01)
    outcome = run_check("another-process", Subject(broken.Sound, 32))
    assert outcome.status == "failed" and "no answers of another process" in outcome.text


@pytest.mark.parametrize("name", ["shapes", "truth", "way-order", "determinism", "half-precision"])
@pytest.mark.parametrize(("method", "most"), [(broken.SingleWay, 1), (broken.TwoWays, 2)])
def test_a_method_of_few_ways_is_checked_with_those(name, method, most):
    outcome = run_check(name, Subject(method, 32))
    if (name, most) == ("way-order", 1):
        assert outcome.status == "does not apply" and "neither 3 ways nor 2: found 2 ways" in outcome.text
    else:
        assert outcome.status == "ok", outcome


def test_no_share_of_a_loss_below_zero_is_a_goal():
    outcome = run_check("overfit", Subject(broken.NegativeLoss, 32))
    assert outcome.status == "does not apply" and "the first loss is -1" in outcome.text
