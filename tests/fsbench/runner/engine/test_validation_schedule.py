"""When a training validates and when it stops."""

from fsbench.runner.engine.validation_schedule import BestScore, ValidationSchedule
from tests.goldens.kinds.training_schedule import hmnet_schedule


def test_hmnet_validates_from_epoch_26_on():
    """By hand: 526 steps of PASCAL, 1370 of COCO; the middle of COCO's 75 epochs is looked at from epoch 26, too."""
    pascal, coco = hmnet_schedule(300), hmnet_schedule(75)
    assert pascal.validations(25, 526) == coco.validations(25, 1370) == []
    assert pascal.validations(26, 526) == [(526, 26)] and pascal.validations(100, 526) == [(526, 100)]
    assert pascal.validations(101, 526) == [(264, 100.5), (526, 101)]
    assert coco.validations(26, 1370) == [(686, 25.5), (1370, 26)]
    assert hmnet_schedule(100) == coco and hmnet_schedule(101) == pascal


def test_both_validations_of_a_short_epoch_are_told_apart():
    assert ValidationSchedule(0, 0).validations(4, 2) == [(2, 3.5), (2, 4)]


def test_epochs_without_a_validation_count_towards_the_end():
    score = BestScore(patience=3)
    for _ in range(2):
        score.begin_epoch()
    assert not score.is_over and score.update(0.5) and not score.update(0.5) and not score.update(0.4)
    for _ in range(2):
        score.begin_epoch()
    assert not score.is_over
    score.begin_epoch()
    assert score.is_over and score.best == 0.5
    assert not BestScore(patience=None).is_over
    assert not BestScore(3).update(0.0)  # the best is 0 before the first validation
