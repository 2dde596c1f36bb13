"""The order and the controls of a blind test: nothing that is shown tells the coin."""

from dataclasses import replace

import numpy as np
import pytest

from fsbench.base.errors import SettingsError
from fsbench.protocols.blind import BlindTest, new_secret
from fsbench.protocols.registry import load_protocol
from fsbench.protocols.test import Test
from fsbench.runner.config.tests import load_test
from fsbench.scores.answers import SegmentationAnswer
from fsbench.scores.controls import CONTROLS, ControlOutcome


@pytest.fixture(scope="module", params=[1, 2])
def test(request, blocks_folder) -> Test:
    return load_test("folder", root=blocks_folder, way=request.param, shot=2, episodes=60)


def secrets(number: int) -> list[str]:
    return [f"{place:032x}" for place in range(number)]


def answered(blind: BlindTest, labels) -> ControlOutcome:
    """Return the outcome of a method that answers a control by `labels(control, its query's label map)`."""
    answers = []
    for control in blind.controls:
        found = labels(control, blind.test.index.label_map(control.shown.query))
        answers.append(blind.is_right(control.shown.index, SegmentationAnswer(found.astype(np.uint8)), 0))
    return ControlOutcome.from_answers(answers)


def test_order_is_of_the_secret_and_has_every_episode_once(test):
    first, again, other = (BlindTest(test, secret) for secret in ("a", "a", "b"))
    assert first.order == again.order and first.order != other.order
    for blind in (first, other):
        shown = sorted(episode.index for episode in blind.order if episode.index >= 0)
        assert shown == [episode.index for episode in test.manifest.episodes]
        assert sorted(blind.all_numbers.values()) == list(range(len(blind.order)))
        assert all(blind.order[opaque].index == own for own, opaque in blind.all_numbers.items())
    assert new_secret() != new_secret()


def test_controls_show_nothing_of_what_is_asked(test):
    blind = BlindTest(test, "x")
    assert len(blind.controls) == CONTROLS
    for control in blind.controls:
        labels = set(np.unique(test.index.label_map(control.shown.query)).tolist())
        asked, other = control.asked.classes[0], control.other.classes[0]
        assert asked != other and {asked, other} <= labels
        assert not labels & set(control.shown.classes)
        donors = [one for one in test.manifest.episodes if one.supports == control.shown.supports]
        assert any(one.classes == control.shown.classes for one in donors)  # the supports are labelled as theirs


def test_coins_are_fair_and_nothing_shown_depends_on_them(test):
    """Every choice beside the coin follows from digests of other words; the two sides of a coin show the same."""
    sides = []
    for secret in secrets(60):
        for control in BlindTest(test, secret).controls:
            both = sorted((control.asked.classes[0], control.other.classes[0]))
            sides.append(both.index(control.asked.classes[0]))
            assert replace(control.asked, classes=control.shown.classes) == control.shown
            assert replace(control.other, classes=control.shown.classes) == control.shown
    assert abs(np.mean(sides) - 0.5) < 4 * 0.5 / len(sides) ** 0.5


@pytest.mark.parametrize(
    "labels",
    [
        lambda control, label_map: np.ones_like(label_map),  # everything
        lambda control, label_map: (label_map > 0) & (label_map < 255),  # a perfect saliency: every object
        lambda control, label_map: label_map == np.bincount(label_map[label_map % 255 > 0]).argmax(),  # the largest
        lambda control, label_map: np.isin(label_map, control.shown.classes),  # a perfect method: of the supports
    ],
    ids=["everything", "objects", "largest", "perfect"],
)
def test_honest_methods_are_not_betrayed(test, labels):
    outcomes = [answered(BlindTest(test, secret), labels) for secret in secrets(12)]
    assert not any(outcome.betrayed for outcome in outcomes)


def test_who_knows_the_truth_is_betrayed(test):
    outcome = answered(BlindTest(test, "x"), lambda control, label_map: label_map == control.asked.classes[0])
    assert outcome == ControlOutcome(CONTROLS, CONTROLS, CONTROLS) and outcome.betrayed


def test_tests_without_controls_and_without_blindness(blocks_folder):
    test = load_test("folder", root=blocks_folder, episodes=4)

    class OneClass(type(test.index)):  # type: ignore[misc]
        def class_pixels(self, name):
            return {0: 90, 1: 10}, 100

    test.index.__class__ = OneClass
    blind = BlindTest(test, "x")
    assert blind.controls == () and len(blind.order) == 4
    with pytest.raises(SettingsError, match="no blind test"):
        BlindTest(replace(test, protocol=load_protocol("fort")), "x")
