"""Every labelled photo is asked without itself: masks are compared, and an exact test says what scores can tell."""

import itertools

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.predict.leave_one_out import ClassCheck, leave_one_out
from fsbench.predict.result import ClassPresence, ImageResult
from fsbench.predict.supports import MOST_ASKED, Support

PIXELS = np.zeros((4, 4, 3), np.uint8)


def photo(name: str, *classes: str) -> Support:
    """A photo with a row for each class."""
    labels = np.zeros((4, 4), np.uint8)
    for number in range(1, len(classes) + 1):
        labels[number] = number
    return Support(name, PIXELS, labels, dict(enumerate(classes, 1)))


CATS_AND_DOGS = [photo(f"{kind}{number}", kind) for kind in ("cat", "dog") for number in range(3)]


def answer(scores: dict[str, float], labels: np.ndarray | None = None) -> ImageResult:
    """A result whose classes have these scores, and the first of them the pixels of 1."""
    classes = tuple(ClassPresence(n, name, True, score, 0) for n, (name, score) in enumerate(scores.items(), 1))
    return ImageResult("photo", np.zeros((4, 4), np.uint8) if labels is None else labels, classes, PIXELS)


@pytest.mark.parametrize("seed", range(6))
def test_the_p_counts_all_orders_of_the_photos(seed):
    drawn = np.random.default_rng(seed).integers(0, 5, 8) / 4  # with ties
    shown, absent = drawn[:3].tolist(), drawn[3:].tolist()
    ranks = [(drawn < one).sum() + ((drawn == one).sum() + 1) / 2 for one in drawn]
    sums = [sum(ranks[place] for place in places) for places in itertools.combinations(range(8), 3)]
    expected = sum(one >= sum(ranks[:3]) - 1e-9 for one in sums) / len(sums)
    assert ClassCheck("it", (), tuple(shown), tuple(absent)).p == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shown", "absent", "threshold"),
    [
        ((0.9, 0.8, 0.95), (0.3, 0.5, 0.1), 0.65),  # a method's own one half would do, too
        ((0.99, 0.98, 0.97), (0.91, 0.9, 0.6), 0.94),  # a method that finds it everywhere
        (
            (0.9, 0.8, 0.7, 0.2),
            (0.1, 0.15, 0.3, 0.12, 0.05),
            0.175,
        ),  # one of five on the wrong side is less than one of four
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), None),
    ],
)
def test_the_threshold_lies_between_both_kinds(shown, absent, threshold):
    check = ClassCheck("it", (), shown, absent)
    assert check.threshold == (None if threshold is None else pytest.approx(threshold)) and check.tells == bool(
        threshold
    )


def test_photos_are_asked_without_themselves_and_masks_are_compared():
    asked = []

    def ask(left_out):
        asked.append(left_out.image_name)
        found = np.zeros((4, 4), np.uint8)
        found[1:3] = 1 if left_out.image_name.startswith("cat") else 2  # the row of the class, and another
        return answer({name: float(left_out.image_name.startswith(name)) for name in ("cat", "dog")}, found)

    void = photo("cat3", "cat")
    void.labels[2] = 255  # is not counted: the mask is right
    checks = leave_one_out([*CATS_AND_DOGS, void], [], ask)
    assert asked == ["cat0", "cat1", "cat2", "dog0", "dog1", "dog2", "cat3"] or sorted(asked) == sorted({*asked})
    assert checks["cat"].ious == (0.5, 0.5, 0.5, 1.0) and checks["dog"].ious == (0.5, 0.5, 0.5)
    assert checks["cat"].masks == "cat IoU .62 (4 photos: .50 to 1.00)"
    assert (checks["dog"].shown, checks["dog"].absent) == ((1.0,) * 3, (0.0,) * 4)
    assert checks["dog"].tells and checks["dog"].presence == (
        "Present means a score above .50 (labelled photos with it scored 1.00, photos without it .00)"
    )


def test_scores_that_say_everything_is_there_tell_nothing():
    checks = leave_one_out(CATS_AND_DOGS, [], lambda left_out: answer({"cat": 0.98, "dog": 0.97}))
    assert not checks["cat"].tells and checks["cat"].p == 1.0
    overlap = iter([0.9, 0.95, 0.99, 0.91, 0.2, 0.1])  # a bus has more than two of the cats
    checks = leave_one_out(CATS_AND_DOGS, [], lambda left_out: answer(dict.fromkeys(("cat", "dog"), next(overlap))))
    assert not checks["cat"].tells and checks["cat"].p == pytest.approx(2 / 20)
    assert checks["cat"].presence == (
        "Whether a photo shows it at all cannot be told (labelled photos with it scored .90 to .99, photos without it "
        ".10 to .91); label more photos, or try another method or network"
    )


def test_few_photos_tell_of_masks_alone_and_one_of_nothing():
    asked = []
    supports = [*CATS_AND_DOGS[:2], *CATS_AND_DOGS[3:4]]
    checks = leave_one_out(supports, [], lambda left_out: asked.append(left_out) or answer({"cat": 0.9, "dog": 0.1}))
    assert [one.image_name for one in asked] == ["cat0", "cat1"] and len(checks["cat"].ious) == 2
    assert checks["dog"].masks == "dog not measured (label a second photo of it)"
    assert "that needs about three labelled photos with it and three without" in checks["cat"].presence


def test_negatives_tell_what_absence_looks_like():
    """But not a photo that shows the class beside what is marked as not it."""
    bus = [photo(f"bus{number}") for number in range(3)]
    asked = []

    def ask(left_out):
        asked.append(left_out.image_name)
        return answer({"cat": 0.9 if left_out.image_name.startswith("cat") else 0.7})

    check = leave_one_out(CATS_AND_DOGS[:3], [*bus, photo("cat0", "plush")], ask)["cat"]
    assert asked == ["cat0", "cat1", "cat2", "bus0", "bus1", "bus2"]
    assert check.absent == (0.7, 0.7, 0.7) and check.threshold == pytest.approx(0.8)


def test_a_photo_that_shows_both_classes_speaks_against_neither():
    asked = []
    both = photo("both", "cat", "dog")
    ask = lambda left_out: asked.append(left_out.image_name) or answer({"cat": 0.5, "dog": 0.5})  # noqa: E731
    check = leave_one_out([*CATS_AND_DOGS, both], [], ask)["cat"]
    assert len(check.shown) == 4 and len(check.absent) == 3 and asked.count("both") == 1


@pytest.mark.slow(2)
def test_many_photos_are_asked_in_part():
    supports = [photo(f"{kind}{number:02}", kind) for kind in ("cat", "dog") for number in range(15)]
    asked = []

    def ask(left_out):
        asked.append(left_out.image_name)
        return answer({"cat": float(left_out.image_name < "d"), "dog": 0.0})

    checks = leave_one_out(supports, [], ask)
    assert len(asked) == 2 * MOST_ASKED and checks["cat"].p == pytest.approx(1 / 184_756)


def test_a_method_of_a_fixed_number_of_shots_is_not_measured():
    def ask(left_out):
        raise SettingsError("the method takes 3 shots")

    checks = leave_one_out(CATS_AND_DOGS, [], ask)
    assert not any(check.shown or check.tells or check.ious for check in checks.values())
    assert checks["cat"].masks == "cat not measured (the method takes 3 shots)"


@pytest.mark.slow(8)
def test_a_predictor_keeps_its_supports_and_decides_by_what_they_tell():
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
    checks = predictor.leave_one_out()
    assert [support.image_name for support in predictor.supports] == before
    assert all(len(each.ious) == len(each.shown) == len(each.absent) == 3 for each in checks.values())
    measured = predictor.predict(query)
    np.testing.assert_array_equal(measured.label_map, unmeasured.label_map)
    assert [one.tells for one in measured.classes] == [checks[one.name].tells for one in measured.classes]
    assert not any(one.tells for one in unmeasured.classes)
    for score, decides in ((0.0, True), (1.1, False)):  # a threshold below every score, and above
        predictor.checks = {name: ClassCheck(name, (), (score,) * 4, (score - 1,) * 4) for name in checks}
        thresholds = {check.threshold for check in predictor.checks.values()}
        assert thresholds == {score - 0.5}
        assert all(one.present == (one.score > score - 0.5) for one in predictor.predict(query).classes) or decides
