"""LabelMe's files: shapes are painted as the programs paint them; what cannot be read is left out and counted."""

import base64
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.labelled.labelme import read_labelme


def paint_labelme(given: dict, file: Path = Path("a.json")) -> tuple[np.ndarray, dict[int, str], list[str]]:
    labels, classes, notes = read_labelme(given, file).paint()
    return labels, dict(classes), list(notes)


SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]


def content(points=SQUARE, kind="polygon", height=50, width=40, label="cat", **more):
    shape = {"label": label, "points": points, "shape_type": kind, **more}
    return {"shapes": [shape], "imageHeight": height, "imageWidth": width, "imagePath": "a.jpg"}


def left_out(shape) -> str:
    """Return why a shape is left out, after a check that a square before it and one after it are painted."""
    given = content(label="before")
    given["shapes"] += [shape, {"label": "after", "points": (np.array(SQUARE) + 15).tolist()}]
    labels, names, (note,) = paint_labelme(given, Path("a.json"))
    expected = np.zeros((50, 40), np.uint8)
    (before, after), shown = names, list(names.values())
    expected[10:21, 10:21], expected[25:36, 25:36] = before, after
    np.testing.assert_array_equal(labels, expected)
    assert shown == ["before", "after"]
    return note.removeprefix("a.json: objects, or parts of one, that mark no pixel are left out: 1 of ")


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle", "oriented_rectangle"])
@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e30, 151, -101, 10**400, "10", None, True, [1]])
def test_a_corner_that_is_no_place_near_the_image_costs_its_shape(value, kind):
    points = [list(corner) for corner in (SQUARE[::2] if kind in ("rectangle", "circle") else SQUARE)]
    points[1][0 if kind == "rectangle" else 1] = value
    reason = left_out({"label": "cat", "points": points, "shape_type": kind})
    assert re.fullmatch(r"cat \((the point .* is not near|points that are not all numbers|a shape that).*\)", reason)


@pytest.mark.parametrize("points", [[[1, 2, 3], [4, 5, 6]], [[1], [2, 3, 4], [5, 6]], [[], [1, 2], [3, 4], [5, 6]]])
def test_a_corner_has_two_numbers(points):
    assert left_out({"label": "cat", "points": points}) == "cat (points that are not all of two numbers, x and y)"


@pytest.mark.parametrize("label", [None, "", " ", 3, ["cat"], True])
def test_a_class_has_a_name(label):
    assert left_out({"label": label, "points": SQUARE}).endswith(" (a label that is no name)")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        # X-AnyLabeling 4.2 writes the eight corners of a cuboid; no program is known to write an ellipse
        ({"label": "cat", "shape_type": "cuboid", "points": SQUARE * 2},
         'cat (fsbench does not read the shape "cuboid")'),
        ({"label": "cat", "shape_type": "ellipse", "points": SQUARE[::2]},
         'cat (fsbench does not read the shape "ellipse")'),
        ({"label": "cat", "shape_type": ["polygon"], "points": SQUARE},
         "cat (fsbench does not read the shape \"['polygon']\")"),
        ({"label": "cat", "shape_type": "rotation", "points": SQUARE[:3]}, 'cat (the shape "rotation" with 3 points)'),
        ({"label": "cat", "shape_type": "oriented_rectangle", "points": SQUARE[:2]},
         'cat (the shape "oriented_rectangle" with 2 points)'),
        ({"label": "cat", "shape_type": "circle", "points": SQUARE}, 'cat (the shape "circle" with 4 points)'),
        ({"label": "cat", "shape_type": "circle", "points": [[9, 9], [9, 9]]}, "cat (fewer than three corners)"),
        ({"label": "cat", "shape_type": "circle", "points": [[-9, -9], [-7, -1]]}, "cat (outside the image)"),
        ({"label": "cat", "shape_type": "mask", "points": SQUARE[::2], "mask": "AAAA"},
         "cat (a mask that cannot be read: cannot be decoded (cannot identify image file: it is of none of the known "
         "formats))"),
        ({"label": "cat", "shape_type": "mask", "points": SQUARE[::2], "mask": "AAA"},
         "cat (a mask that cannot be read: Incorrect padding)"),
        ({"label": "cat", "shape_type": "mask", "points": SQUARE[::2]}, "cat (a shape that cannot be read)"),
        ({"label": "cat", "points": None}, "cat (a shape that cannot be read)"),
        ({"label": "cat"}, "cat (a shape that cannot be read)"),
        ("cat", "None (a shape that cannot be read)"),
    ],
)  # fmt: skip
def test_a_shape_that_cannot_be_read_never_costs_the_file(shape, reason):
    assert left_out(shape) == reason


@pytest.mark.parametrize("kind", ["oriented_rectangle", "rotation", "quadrilateral"])
def test_shapes_of_four_corners_are_polygons(kind):
    """LabelMe 6 and later, and X-AnyLabeling, fill them as they fill polygons."""
    corners = [[20.0, 10.0], [38.0, 20.0], [33.0, 30.0], [15.0, 20.0]]
    labels, names, notes = paint_labelme(content(corners, kind), Path("a.json"))
    np.testing.assert_array_equal(labels, paint_labelme(content(corners), Path("a.json"))[0])
    assert names == {1: "cat"} and not notes
    assert labels[20, 15:37].all() and not labels[11, 24:].any() and not labels[29, :29].any()


LABELMES_DISCS = [
    ([[20, 15], [20, 21]],
     {9: (18, 22), 10: (17, 23), 11: (16, 24), 12: (15, 25), **dict.fromkeys(range(13, 18), (14, 26)), 18: (15, 25),
      19: (16, 24), 20: (17, 23), 21: (18, 22)}),
    ([[20.5, 15.2], [23.7, 21.9]],
     {7: (18, 22), 8: (16, 24), 9: (15, 25), 10: (14, 26), 11: (14, 26), **dict.fromkeys(range(12, 18), (13, 27)),
      18: (14, 26), 19: (14, 26), 20: (15, 25), 21: (16, 24), 22: (18, 22)}),
    ([[5, 5], [5, 5.3]], {4: (4, 5), 5: (4, 5)}),
    ([[2, 3], [4.5, 9.5]],
     {0: (0, 7), **dict.fromkeys(range(1, 6), (0, 8)), 6: (0, 7), 7: (0, 6), 8: (0, 5), 9: (0, 4)}),
]  # fmt: skip
"""Centre and edge of circles, and the first and last pixel of each row as `shape_to_mask` of labelme 7.9.1 fills it."""


@pytest.mark.parametrize(("points", "rows"), LABELMES_DISCS)
def test_a_circle_is_labelmes_own_disc(points, rows):
    expected = np.zeros((50, 40), np.uint8)
    for row, (first, last) in rows.items():
        expected[row, first : last + 1] = 1
    np.testing.assert_array_equal(paint_labelme(content(points, "circle"), Path("a.json"))[0], expected)


def test_a_shape_may_reach_out_of_the_image():
    given = content([[-30, -30], [79, -30], [79, 25], [-30, 25]])
    given["shapes"] += [{"label": "dog", "points": [[-2, 30], [10, 30], [10, 40]]}, given["shapes"][0]]
    labels, names, notes = paint_labelme(given, Path("a.json"))
    assert names == {1: "cat", 2: "dog"} and (labels[:26] == 1).all() and not labels[41:].any()
    assert len(notes) == 1 and notes[0].endswith("are cut: 2 of cat")


@pytest.mark.parametrize("shapes", [None, "abc", {"a": 1}, 3])
def test_shapes_are_a_list(shapes):
    with pytest.raises(DataError, match=r"^a.json cannot be used \(.*\); expected the JSON file that LabelMe writes"):
        paint_labelme(content() | {"shapes": shapes}, Path("a.json"))


@pytest.mark.parametrize(
    "sizes",
    [(100_000, 40_000), (0, 40), (-5, 40), (50.5, 40), (math.inf, 40), (True, 40), ("50", 40), (None, 40), (10**30, 1)],
)
def test_a_size_that_no_image_has_is_refused_without_painting(tmp_path, sizes):
    with pytest.raises(DataError, match="cannot be used"):
        paint_labelme(content(height=sizes[0], width=sizes[1]), tmp_path / "a.json")


@pytest.mark.parametrize(
    ("left", "top"), [(0, 0), (-3, -2), (37, 48), (-8, 0), (41, 0), (2.6, 3.4), (2.5, 3.5), (-0.6, -1.4)]
)
def test_a_small_mask_is_cut_at_the_borders(tmp_path, left, top):
    """Its corner is rounded as labelme 7.9.1 rounds it."""
    patch = np.arange(48).reshape(6, 8) % 3 > 0
    file = io.BytesIO()
    Image.fromarray(patch).save(file, "png")
    given = content([[left, top], [left + 8, top + 6]], "mask", mask=base64.b64encode(file.getvalue()).decode())
    expected = np.zeros((50, 40), np.uint8)
    for y, x in np.argwhere(patch):
        row, column = y + round(top), x + round(left)
        if 0 <= row < 50 and 0 <= column < 40:
            expected[row, column] = 1
    np.testing.assert_array_equal(paint_labelme(given, tmp_path / "a.json")[0], expected)
