"""Each check passes a sound method and finds the one that breaks its rule."""

import re

import pytest

from fsbench.base.errors import SettingsError
from fsbench.core.method import AuthorsShots
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.contract.subject import Subject
from fsbench.runner.contract.suite import BASIC, CHECKS, run_check
from tests.fsbench.core.test_segmenter import FlipsQuery
from tests.fsbench.runner.contract import broken

BROKEN = {
    "shapes": (broken.WrongSize, r"label_map \(23, 37\)"),
    "ways-and-shots": (broken.OneWay, "AssertionError"),
    "empty-supports": (broken.NeedsForeground, "NaN or infinity"),
    "empty-query": (broken.NeedsObject, "NaN or infinity"),
    "inputs": (broken.Overwrites, r"Overwrites changed its argument episode\.images in place"),
    "determinism": (broken.Draws, "two runs that differ"),
    "batch": (broken.ReadsBatch, "otherwise in a batch than alone"),
    "side-effects": (broken.Reseeds, "torch's random generator changed by an answer"),
    "other-episodes": (broken.LooksUp, "episode 0 answered otherwise where others had shown its query"),
    "truth": (broken.Asks, r"asks for the truth \(broken.py, line \d+\)"),
    "way-order": (broken.FirstWay, "change with the order of the ways"),
    "half-precision": (broken.Overflows, "inf times as far from fp32"),
    "another-process": (broken.KnowsItsProcess, "other answers in another process"),
    "checkpoint": (broken.Unsaved, "other answers after loading"),
    "gradients": (broken.DeadParameter, "no gradient for unused.weight, unused.bias"),
    "step-is-a-mean": (broken.AveragesPixels, r"0\.\d+ of a batch's gradient .* say step_is_a_mean = False"),
    "overfit": (broken.LearnsNothing, "loss 1 before and 1 after 100 steps"),
    "memory": (broken.Leaks, "live tensors"),
    "export": (broken.ExportedOtherwise, r"labels of a graph that are not the method's"),
}
LONG = {"memory": 3, "another-process": 8, "export": 3}
EACH = {name: pytest.param(name, marks=pytest.mark.slow(LONG[name])) if name in LONG else name for name in CHECKS}


@pytest.mark.parametrize("name", EACH.values())
def test_a_method_that_breaks_the_rule_is_found(name):
    method, message = BROKEN[name]
    outcome = run_check(name, Subject(method, 32, memory_episodes=40))
    assert outcome.status == "failed", outcome
    assert re.search(message, outcome.text), outcome.text
    assert "expected" in outcome.text


def test_no_number_of_shots_is_refused_that_the_authors_rule_covers():
    class Says(broken.Sound):
        authors_shots = AuthorsShots((1, 3), "no other is laid out")

        def check_shots(self, test, training):
            if test == 3:
                raise SettingsError("3 shots")

    outcome = run_check("ways-and-shots", Subject(Says, 32))
    assert outcome.status == "failed" and "covers 3, which check_shots refuses: 3 shots" in outcome.text
    Says.authors_shots = AuthorsShots((1, 5), "no other is laid out")
    assert run_check("ways-and-shots", Subject(Says, 32)).status == "ok"


def test_a_write_into_kept_features_fails_the_inputs():
    subject = Subject(lambda: FlipsQuery(BackboneConfig("demo")), 32)
    outcomes = [run_check(name, subject) for name in BASIC]
    assert [outcome.check for outcome in outcomes if outcome.status == "failed"] == ["inputs"]
    assert "query() of FlipsQuery changed its argument image in place; expected" in outcomes[2].text


def test_an_entry_of_a_checkpoint_that_cannot_be_read_is_named():
    class SavesAnObject(broken.Sound):
        def on_save_checkpoint(self, checkpoint):
            super().on_save_checkpoint(checkpoint)
            checkpoint["mine"] = {"settings": [object()]}

    outcome = run_check("checkpoint", Subject(SavesAnObject, 32))
    assert outcome.status == "failed" and "would hold mine: settings: 0 (object)" in outcome.text


def test_a_method_that_a_plain_trainer_cannot_train_has_its_weights_looked_at():
    class AsksForData(broken.Sound):
        def on_fit_start(self):
            self.trainer.datamodule.training_pool  # noqa: B018

    outcome = run_check("checkpoint", Subject(AsksForData, 32))
    assert outcome.status == "ok" and "without the states of a training, which needs more than batches" in outcome.text


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
    ("name", "method", "message"),
    [
        ("shapes", broken.SilentAttention, "attention_meaning is empty"),
        ("shapes", broken.LoudAttention, r"attention in .*\..*0\.\.1"),
        ("shapes", broken.EagerAttention, "attention where keeps_soft_masks is False"),
        ("truth", broken.AsksByVars, r"asks for the truth \(broken.py, line \d+\)"),
        ("truth", broken.AsksOnTheWay, r"asks for the truth \(broken.py, line \d+\)"),
        ("truth", broken.AsksInBatch, "asks for the truth"),
        ("truth", broken.AsksDataSet, r"asks for the truth \(broken.py, line \d+\)"),
        ("truth", broken.DigsForTruth, "other answers with another truth"),
        ("inputs", broken.OverwritesMasks, r"changed its argument episode\.support_labels in place"),
        ("inputs", broken.WritesToMask, r"support\(\) of WritesToMask changed its argument mask in place"),
        ("inputs", broken.WritesToState, r"segment\(\) of WritesToState changed its argument support in place"),
        ("inputs", broken.WritesInJoin, r"join\(\) of WritesInJoin changed its argument supports in place"),
        ("inputs", broken.WritesByData, r"query\(\) of WritesByData changed its argument image in place"),
        ("inputs", broken.WritesByNumpy, r"support\(\) of WritesByNumpy changed its argument image in place"),
        ("step-is-a-mean", broken.DropsPixels, "of a batch's gradient that the mean over its 3 episodes"),
        ("step-is-a-mean", broken.NormalisesBatches, "of a batch's gradient that the mean over its 3 episodes"),
        ("step-is-a-mean", broken.SumsInStep, "of a batch's gradient that the mean over its 3 episodes"),
        ("step-is-a-mean", broken.DrawsOnce, "of a batch's gradient that the mean over its 3 episodes"),
        ("step-is-a-mean", broken.MeansOverShown, "of a batch's gradient that the mean over its 3 episodes"),
        ("side-effects", broken.ReseedsNumpy, "numpy's random generator changed by an answer"),
        ("side-effects", broken.ReseedsPython, "Python's random generator changed by an answer"),
        ("side-effects", broken.SetsThreads, "torch's threads changed by an answer"),
        ("side-effects", broken.StaysInTraining, "found StaysInTraining in training mode after an answer"),
        ("side-effects", broken.TrainsItsNetwork, "found backbone in training mode after an answer"),
    ],
)
def test_other_ways_to_break_a_rule_are_found(name, method, message):
    outcome = run_check(name, Subject(method, 32))
    assert outcome.status == "failed" and re.search(message, outcome.text), outcome
    assert "expected" in outcome.text and len(outcome.text.splitlines()) == 1


def test_ways_that_tie_at_probability_1_are_counted():
    """Those of a method that compares probabilities, such as EMAT; confident logits themselves still differ."""
    assert run_check("way-order", Subject(broken.Confident, 32)).status == "ok"
    outcome = run_check("way-order", Subject(broken.ComparesProbabilities, 32))
    assert outcome.status == "failed" and "compare ways by their logits" in outcome.text
    assert re.search(r"; \d{3,} pixels tie at probability 1\.0, where the first way wins; ", outcome.text), outcome


@pytest.mark.parametrize("method", [broken.ReadsNamesOfClasses, broken.HandlesHints])
def test_what_is_no_truth_may_be_read(method):
    assert run_check("truth", Subject(method, 32)).status == "ok"


@pytest.mark.parametrize("name", [EACH[name] for name in CHECKS if name not in ("another-process", "overfit")])
def test_a_sound_method_passes(name):
    outcome = run_check(name, Subject(broken.Sound, 32, memory_episodes=40))
    assert outcome.status == "ok", outcome


@pytest.mark.slow
def test_a_process_that_ends_is_said():
    outcome = run_check("another-process", Subject(broken.EndsElsewhere, 32))
    assert outcome.status == "failed" and "ended before it answered" in outcome.text


@pytest.mark.parametrize("name", ["shapes", "truth", "way-order", "determinism", "half-precision"])
@pytest.mark.parametrize(("method", "most"), [(broken.SingleWay, 1), (broken.TwoWays, 2)])
def test_a_method_of_few_ways_is_checked_with_those(name, method, most):
    outcome = run_check(name, Subject(method, 32))
    if (name, most) == ("way-order", 1):
        assert outcome.status == "does not apply" and "neither 3 ways nor 2: found 2 ways" in outcome.text
    else:
        assert outcome.status == "ok", outcome


def test_a_method_that_does_not_say_that_its_steps_are_means_need_not_have_them():
    class SaysNothing(broken.AveragesPixels):
        step_is_a_mean = False

    outcome = run_check("step-is-a-mean", Subject(SaysNothing, 32))
    assert outcome.status == "does not apply" and "does not say step_is_a_mean" in outcome.text


def test_no_share_of_a_loss_below_zero_is_a_goal():
    outcome = run_check("overfit", Subject(broken.NegativeLoss, 32))
    assert outcome.status == "does not apply" and "the first loss is -1" in outcome.text
