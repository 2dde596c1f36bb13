"""What presence scores are worth: every photo is asked without itself, and the test is an exact one."""

import itertools

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.predict.presence import MOST, PresenceWorth, presence_worth
from fsbench.predict.supports import Support

PIXELS = np.zeros((4, 4, 3), np.uint8)


def photo(name: str, *classes: str) -> Support:
    return Support(name, PIXELS, np.ones((4, 4), np.uint8), dict(enumerate(classes, 1)))


CATS_AND_DOGS = [photo(f"{kind}{number}", kind) for kind in ("cat", "dog") for number in range(3)]


@pytest.mark.parametrize("seed", range(6))
def test_the_p_counts_all_orders_of_the_photos(seed):
    drawn = np.random.default_rng(seed).integers(0, 5, 8) / 4  # with ties
    shown, absent = drawn[:3].tolist(), drawn[3:].tolist()
    ranks = [(drawn < one).sum() + ((drawn == one).sum() + 1) / 2 for one in drawn]
    sums = [sum(ranks[place] for place in places) for places in itertools.combinations(range(8), 3)]
    expected = sum(one >= sum(ranks[:3]) - 1e-9 for one in sums) / len(sums)
    assert PresenceWorth(tuple(shown), tuple(absent)).p == pytest.approx(expected)


def test_photos_are_asked_without_themselves():
    seen = {}

    def scores(others, left_out):
        seen[left_out.image_name] = [support.image_name for support in others]
        return {name: float(left_out.image_name.startswith(name)) for name in ("cat", "dog")}

    worth = presence_worth(CATS_AND_DOGS, scores)
    assert all(sorted([*others, name]) == [one.image_name for one in CATS_AND_DOGS] for name, others in seen.items())
    assert len(seen) == 6
    assert {name: (each.shown, each.absent) for name, each in worth.items()} == dict.fromkeys(
        ("cat", "dog"), ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    )
    assert worth["cat"].tells and worth["cat"].p == pytest.approx(1 / 20)
    assert str(worth["cat"]) == (
        "tested on the labelled photos, each left out once: 3 labelled photos with it scored 1.00, 3 without it 0.00; "
        "p = 0.05"
    )


def test_scores_that_say_everything_is_there_tell_nothing():
    worth = presence_worth(CATS_AND_DOGS, lambda others, left_out: {"cat": 0.98, "dog": 0.97})
    assert not worth["cat"].tells and worth["cat"].p == 1.0
    overlap = iter([0.9, 0.95, 0.99, 0.91, 0.2, 0.1])  # a bus has more than two of the cats
    worth = presence_worth(CATS_AND_DOGS, lambda others, left_out: dict.fromkeys(("cat", "dog"), next(overlap)))
    assert not worth["cat"].tells and worth["cat"].p == pytest.approx(2 / 20)


@pytest.mark.parametrize("supports", [CATS_AND_DOGS[:3], [*CATS_AND_DOGS[:2], *CATS_AND_DOGS[3:5]]])
def test_too_few_photos_are_not_asked(supports):
    def scores(others, left_out):
        raise AssertionError("nothing could come of it")

    worth = presence_worth(supports, scores)
    assert not any(each.tells or each.shown for each in worth.values())
    assert "were not tested: that needs about three labelled photos with it and three without" in str(worth["cat"])


def test_a_photo_that_shows_both_classes_speaks_against_neither():
    asked = []

    def scores(others, left_out):
        asked.append(left_out.image_name)
        return {"cat": 0.5, "dog": 0.5}

    both = photo("both", "cat", "dog")
    worth = presence_worth([*CATS_AND_DOGS, both], scores)
    assert len(worth["cat"].shown) == 4 and len(worth["cat"].absent) == 3 and asked.count("both") == 1


def test_many_photos_are_asked_in_part():
    supports = [photo(f"{kind}{number:02}", kind) for kind in ("cat", "dog") for number in range(15)]
    asked = []

    def scores(others, left_out):
        asked.append(left_out.image_name)
        return {"cat": float(left_out.image_name < "d"), "dog": 0.0}

    worth = presence_worth(supports, scores)
    assert len(asked) == 2 * MOST and worth["cat"].p == pytest.approx(1 / 184_756)


def test_a_method_of_a_fixed_number_of_shots_is_not_measured():
    def scores(others, left_out):
        raise SettingsError("the method takes 3 shots")

    assert not any(worth.shown or worth.tells for worth in presence_worth(CATS_AND_DOGS, scores).values())


@pytest.mark.slow(8)
def test_a_predictor_keeps_its_supports_and_says_what_it_can_tell():
    predictor = fsbench.Predictor("prototype", dataset="demo")
    test = fsbench.load_test("demo", protocol="pfenet", episodes=40)
    classes = {}
    for episode in test:
        shot = episode.supports[0][0]
        classes.setdefault(episode.classes[0], {})[shot.image.tobytes()] = (shot.image, shot.mask == 1)
    names = [name for name, shots in classes.items() if len(shots) >= 3][:2]
    for name in names:
        predictor.support(str(name), list(classes[name].values())[:3])
    before = [support.image_name for support in predictor.supports]
    query = test[0].query
    unmeasured = predictor.predict(query)
    worth = predictor.measure_presence()
    assert [support.image_name for support in predictor.supports] == before
    assert all(len(each.shown) == len(each.absent) == 3 for each in worth.values())
    measured = predictor.predict(query)
    np.testing.assert_array_equal(measured.label_map, unmeasured.label_map)
    assert [one.tells for one in measured.classes] == [worth[one.name].tells for one in measured.classes]
    assert not any(one.tells for one in unmeasured.classes)
