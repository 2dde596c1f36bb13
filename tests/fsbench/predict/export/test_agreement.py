"""A file is refused where it answers otherwise than its method."""

import numpy as np
import pytest
from fsbench.predict.export.agreement import Original, compare

from fsbench.base.errors import NumericsError
from fsbench.predict.result import ClassPresence, Result

SIDES = (50, 60)


def original(labels: np.ndarray, margin: float, score: float = 0.5) -> Original:
    answer = Result("photo", labels, (ClassPresence(1, "thing", True, score, int(labels.sum())),), np.zeros((2, 2, 3)))
    return Original("mine", lambda image: answer, lambda image: np.full(SIDES, margin))


def run(labels: np.ndarray, present: bool = True, score: float = 0.5):
    return lambda image: (labels, np.array([present]), np.array([score], np.float32))


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SIDES, np.uint8)
    labels[10:20] = 1
    return labels


def flipped(labels: np.ndarray, pixels: int) -> np.ndarray:
    other = labels.copy()
    other.flat[:pixels] ^= 1
    return other


def test_borderline_pixels_are_counted(labels):
    found = compare(original(labels, 5e-4), run(flipped(labels, 3), score=0.5004), [("a", labels), ("b", labels)])
    assert (found.images, found.pixels, found.other, found.farthest) == (2, 6000, 6, 5e-4)
    assert found.score == pytest.approx(4e-4, rel=1e-3)
    assert str(found).startswith("99.9 % of the 6000 pixels of 2 photos have the same label (the other 6 are within")


@pytest.mark.parametrize(
    ("method", "file"),
    [
        (dict(margin=5e-4), dict(pixels=4)),  # more than one in a thousand
        (dict(margin=2e-3), dict(pixels=1)),  # not at the border
        (dict(margin=0.0), dict(pixels=0, score=0.502)),
        (dict(margin=0.0), dict(pixels=0, present=False)),
    ],
)
def test_other_answers_are_refused(labels, method, file):
    other = flipped(labels, file.pop("pixels"))
    with pytest.raises(NumericsError, match=r"otherwise than mine on a: .* nothing was written"):
        compare(original(labels, **method), run(other, **file), [("a", labels)])
