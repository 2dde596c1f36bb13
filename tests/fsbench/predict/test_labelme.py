"""LabelMe's files: corners near the image are painted, elsewhere they are refused."""

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.predict.labelme import paint_labelme

SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def content(points=SQUARE, kind="polygon", height=50, width=40, label="cat", **more):
    shape = {"label": label, "points": points, "shape_type": kind, **more}
    return {"shapes": [shape], "imageHeight": height, "imageWidth": width, "imagePath": "a.jpg"}


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle"])
@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e30, 151, -101, 10**400, "10", None, True, [1]])
def test_a_corner_that_is_no_place_near_the_image_is_refused(tmp_path, value, kind):
    points = [list(corner) for corner in (SQUARE if kind == "polygon" else SQUARE[::2])]
    points[1][0 if kind == "rectangle" else 1] = value
    with pytest.raises(DataError, match=r"^\S+ cannot be used \(.*\); expected the JSON file that LabelMe writes"):
        paint_labelme(content(points, kind), tmp_path / "a.json")


@pytest.mark.parametrize("points", [[[1, 2, 3], [4, 5, 6]], [[1], [2, 3, 4], [5, 6]], [[], [1, 2], [3, 4], [5, 6]]])
def test_a_corner_has_two_numbers(tmp_path, points):
    with pytest.raises(DataError, match=r"points are not all of two numbers.*; expected the JSON file"):
        paint_labelme(content(points), tmp_path / "a.json")


def test_a_shape_may_reach_out_of_the_image(tmp_path):
    labels, names, _ = paint_labelme(content([[-30, -30], [79, -30], [79, 25], [-30, 25]]), tmp_path / "a.json")
    assert names == {1: "cat"} and labels[:26].all() and not labels[26:].any()


@pytest.mark.parametrize(
    "sizes",
    [(100_000, 40_000), (0, 40), (-5, 40), (50.5, 40), (math.inf, 40), (True, 40), ("50", 40), (None, 40), (10**30, 1)],
)
def test_a_size_that_no_image_has_is_refused_without_painting(tmp_path, sizes):
    with pytest.raises(DataError, match="cannot be used"):
        paint_labelme(content(height=sizes[0], width=sizes[1]), tmp_path / "a.json")


@pytest.mark.parametrize("label", [None, "", " ", 3, ["cat"], True])
def test_a_class_has_a_name(tmp_path, label):
    with pytest.raises(DataError, match=r"label is .*, not a name"):
        paint_labelme(content(label=label), tmp_path / "a.json")


@pytest.mark.parametrize(("left", "top"), [(0, 0), (-3, -2), (37, 48), (-8, 0), (41, 0)])
def test_a_small_mask_is_cut_at_the_borders(tmp_path, left, top):
    patch = np.arange(48).reshape(6, 8) % 3 > 0
    file = io.BytesIO()
    Image.fromarray(patch).save(file, "png")
    given = content([[left, top], [left + 8, top + 6]], "mask", mask=base64.b64encode(file.getvalue()).decode())
    expected = np.zeros((50, 40), np.uint8)
    for y, x in np.argwhere(patch):
        if 0 <= y + top < 50 and 0 <= x + left < 40:
            expected[y + top, x + left] = 1
    np.testing.assert_array_equal(paint_labelme(given, tmp_path / "a.json")[0], expected)
