"""Masks of COCO-like annotations: polygons, runs and bitmaps, and those of them that have no area or no use."""

import numpy as np
import pytest
from pycocotools.mask import decode, frPyObjects, merge

from fsbench.data.segmentations import check_form, union_mask

SQUARE = [[2.0, 1.0, 5.0, 1.0, 5.0, 4.0, 2.0, 4.0]]
"""Columns 2 to 4 of rows 1 to 3."""
RUNS = {"size": [6, 8], "counts": [0, 6, 42]}
"""The first column."""


def expected(*places: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((6, 8), dtype=bool)
    for place in places:
        mask[place] = True
    return mask


def test_masks_of_all_forms_are_joined():
    square, column = np.s_[1:4, 2:5], np.s_[:, 0:1]
    bitmap = expected(np.s_[5:, 5:]).astype(int)
    compressed = {"size": [6, 8], "counts": "06Z1"}
    assert np.array_equal(union_mask([SQUARE], 6, 8), expected(square))
    for runs in (RUNS, compressed, {"size": [6, 8], "counts": b"06Z1"}):
        assert np.array_equal(union_mask([SQUARE, runs], 6, 8), expected(square, column))
    for form in (bitmap.tolist(), bitmap.astype(np.uint8), bitmap.astype(bool)):
        assert np.array_equal(union_mask([form, RUNS], 6, 8), expected(np.s_[5:, 5:], column))
    assert not union_mask([], 6, 8).any()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"size": [7, 8], "counts": "06Z1"}, "its size is [7, 8]"),
        ({"size": [6, 8]}, "it has no runs"),
        (np.zeros((3, 3)), "a bitmap has the shape (3, 3)"),
        (np.eye(5, 7).tolist(), "a bitmap has the shape (5, 7)"),
        ([[1.0, 2.0, 3.0, 4.0]], "its first polygon has fewer than three points, which pycocotools refuses"),
        ([[1.0, 2.0], *SQUARE], "its first polygon has fewer than three points, which pycocotools refuses"),
        ([[]], "its first polygon has fewer than three points, which pycocotools refuses"),
        ([[1.0, 2.0, "3", 4.0, 5.0, 6.0]], "a polygon is no list of numbers"),
        ([[1.0, 1.0, float("nan"), 4.0, 5.0, 6.0]], "a polygon has a point more than 100000 pixels away"),
        ([[1.0, 1.0, -1e9, 4.0, 5.0, 6.0]], "a polygon has a point more than 100000 pixels away"),
        ([], "a mask has no polygon"),
        (None, "a mask is NoneType, expected polygons, runs or a bitmap"),
    ],
)
def test_an_unusable_mask_is_named(mask, message):
    with pytest.raises(ValueError) as refused:
        union_mask([mask], 6, 8)
    assert str(refused.value) == message
    if "size" not in message and "shape" not in message:  # which are known with the photo alone
        with pytest.raises(ValueError) as refused:
            check_form(mask)
        assert str(refused.value) == message


LINE, POINT = [3.0, 2.0, 7.0, 5.0], [1.0, 1.0]


@pytest.mark.parametrize(
    ("polygons", "place"),
    [
        ([*SQUARE, LINE], np.s_[1:4, 2:5]),  # fewer than three points: nothing is added
        ([*SQUARE, POINT, []], np.s_[1:4, 2:5]),
        ([[*SQUARE[0], 7.0]], np.s_[1:4, 2:5]),  # an odd last number is dropped
        ([[*LINE, 3.0]], np.s_[:0]),
        ([[1.0, 1.0, 3.0, 3.0, 5.0, 5.0]], np.s_[:0]),  # without an area: nothing is marked
        ([[2.0, 2.0] * 3], np.s_[:0]),
        ([[-5.0, -5.0, -2.0, -5.0, -2.0, -2.0]], np.s_[:0]),
    ],
)
def test_degenerate_polygons_are_what_cocos_tools_make_of_them(polygons, place):
    check_form(polygons)
    found = union_mask([polygons], 6, 8)
    assert np.array_equal(found, expected(place))
    assert np.array_equal(found, decode(merge(frPyObjects(polygons, 6, 8))).astype(bool))


@pytest.mark.parametrize("polygons", [[LINE], [LINE, *SQUARE], [POINT], [[]], []])
def test_polygons_that_are_refused_stop_cocos_tools(polygons):
    with pytest.raises(Exception, match=r"incorrect type|out of range|not supported"):
        frPyObjects(polygons, 6, 8)
