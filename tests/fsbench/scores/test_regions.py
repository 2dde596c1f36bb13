"""ROM and RUM against a plain implementation: regions by flood fill, overlaps by sets of pixels (dcama.md §12)."""

from math import tanh

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fsbench.data.connected import Regions
from fsbench.data.truth import EpisodeTruth
from fsbench.scores import regions
from fsbench.scores.answers import SegmentationAnswer, count_answer
from fsbench.scores.regions import region_measures, slot_regions


def plain_regions(mask):
    """Sets of pixels that are connected in 8 directions."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        found.append(region)
    return found


def plain_measure(ones, others):
    if not ones or not others:
        return 0.0
    partners = [[j for j, other in enumerate(others) if one & other] for one in ones]
    split = [found for found in partners if len(found) >= 2]
    involved = {j for found in split for j in found}
    ratio = len(split) * len(involved) / (len(ones) * len(others))
    return tanh(ratio * sum(max(len(found) - 1, 0) for found in partners))


def plain(prediction, truth):
    predicted, true = plain_regions(prediction), plain_regions(truth)
    return plain_measure(true, predicted), plain_measure(predicted, true)


def masks(values):
    shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
    return shape.flatmap(lambda s: st.tuples(*(hnp.arrays(np.uint8, s, elements=st.sampled_from(v)) for v in values)))


@given(masks([[0, 1], [0, 0, 1]]))
@settings(max_examples=100, deadline=None)
def test_measures_equal_the_plain_ones(pair):
    prediction, truth = pair[0] > 0, pair[1] > 0
    expected = plain(prediction, truth)
    assert region_measures(prediction, truth) == pytest.approx(expected, abs=1e-12)
    assert region_measures(truth, prediction) == pytest.approx(expected[::-1], abs=1e-12)  # the roles exchanged


@given(masks([[0, 1, 2], [0, 1, 2, 255]]))
@settings(max_examples=100, deadline=None)
def test_void_is_no_object(pair):
    prediction, truth = pair
    rom, rum = slot_regions(prediction, truth, 2)
    expected = [plain(prediction > 0, (truth > 0) & (truth != 255))]
    expected += [plain(prediction == slot, truth == slot) for slot in (1, 2)]
    np.testing.assert_allclose(np.stack([rom, rum], 1), expected, atol=1e-7)


def random_mask(number):
    """Noise of any density, or smooth objects."""
    rng = np.random.default_rng(number)
    shape = rng.integers(1, 90, 2)
    if number % 2:
        return rng.random(shape) < rng.random()
    return cv2.GaussianBlur(rng.random(shape), (0, 0), rng.uniform(0.5, 4)) > 0.5


def test_regions_are_those_of_opencv():
    spiral = np.array([list(row) for row in ("11111", "00001", "11101", "10001", "11111")]) == "1"
    for mask in [spiral, *map(random_mask, range(100))]:
        number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        rows, columns = np.nonzero(mask)
        regions = Regions.of(mask)
        pairs = set(zip(regions.at(rows * (mask.shape[1] + 1) + columns).tolist(), labels[mask].tolist(), strict=True))
        assert regions.number == number - 1 == len(pairs)
        assert {len({pair[side] for pair in pairs}) for side in (0, 1)} <= {number - 1}


def test_an_object_in_three_pieces_and_three_objects_as_one():
    whole = np.ones((1, 5), bool)
    pieces = np.array([[1, 0, 1, 0, 1]], bool)
    assert region_measures(pieces, whole) == (tanh(1 * 3 / (1 * 3) * 2), 0)
    assert region_measures(whole, pieces) == (0, tanh(2))
    assert region_measures(pieces, pieces) == (0, 0)


def test_void_does_not_cut_a_prediction():
    """A strip that joins two objects across a void border is one region."""
    prediction = np.ones((1, 5), dtype=np.uint8)
    truth = np.array([[1, 0, 255, 0, 1]], dtype=np.uint8)
    assert slot_regions(prediction, truth, 1)[1].tolist() == pytest.approx([tanh(1), tanh(1)])


def test_many_regions_take_another_way_with_the_same_result(monkeypatch):
    rng = np.random.RandomState(0)
    prediction, truth = rng.rand(2, 40, 50) > 0.75
    dense = region_measures(prediction, truth)
    monkeypatch.setattr(regions, "DENSE", 0)
    assert region_measures(prediction, truth) == dense and 0 < dense[0] < 1


def test_the_evaluation_measures_regions():
    truth = np.array([[1, 1, 1, 0, 2], [0, 0, 0, 0, 255]], dtype=np.uint8)
    label_map = np.array([[1, 0, 1, 0, 2], [0, 0, 0, 0, 2]])
    episode = EpisodeTruth(7, (2, 5), truth, np.array([True, True]), np.array([3, 4]))
    result = count_answer(SegmentationAnswer(label_map), episode)
    assert result.rom.tolist() == pytest.approx([tanh(1 * 2 / (2 * 3)), tanh(1), 0])
    assert result.rum.tolist() == [0, 0, 0]
