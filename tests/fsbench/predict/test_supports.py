"""Supports as people give them: masks of all kinds, LabelMe, COCO, folders; what is wrong in one line; as a batch."""

import base64
import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.palettes import voc_colors
from fsbench.predict.supports import Support, read_negatives, read_supports, stack_supports
from tests.recompressed import recompress, save_palette

HEIGHT, WIDTH = 20, 30
MASK = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
MASK[4:12, 5:20] = 1
LABELS = MASK.copy()
LABELS[14:18, 2:9] = 3
LABELS[0] = 255
PHOTO = np.random.RandomState(0).randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a photo."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("a.png")
    return tmp_path


def only(text: str, classes: str = "", root: Path | None = None):
    ((support,), notes) = read_supports([text], classes, root)
    return support, notes


def white(mode: str) -> Image.Image:
    picture = Image.fromarray(MASK * 255).convert(mode)
    if mode in ("LA", "RGBA"):  # white all over, and transparent where nothing is marked
        picture = Image.new(mode, picture.size, "white")
        picture.putalpha(Image.fromarray(MASK * 255))
    return picture


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "LA", "RGB", "RGBA"])
def test_black_and_white_in_every_mode(folder, mode):
    picture = Image.fromarray(MASK.astype(np.uint16) * 65535) if mode == "I;16" else white(mode)
    picture.save("m.png")
    support, notes = only("cat=a.png:m.png")
    np.testing.assert_array_equal(support.labels, MASK)
    np.testing.assert_array_equal(support.pixels, PHOTO)
    assert support.classes == {1: "cat"} and support.image_name == "a.png" and not notes
    assert only("a.png:m.png")[0].classes == {1: "class 1"}


def smooth() -> Image.Image:
    sharp = np.zeros_like(MASK)
    sharp[2:18, 2:28] = 255
    return Image.fromarray(cv2.GaussianBlur(sharp, (3, 3), 0))


def test_smoothed_masks_are_cut_at_half_white(folder):
    smooth().save("m.png")
    support, (note,) = only("cat=a.png:m.png")
    np.testing.assert_array_equal(support.labels, np.asarray(smooth()) >= 128)
    assert "smoothed" in note and support.classes == {1: "cat"}
    # a label map with much void is none
    labels = np.where(LABELS > 0, LABELS, 255)
    labels[8, 8] = 2
    Image.fromarray(labels).save("m.png")
    assert only("a.png:m.png", "1=a,3=b")[0].classes == {1: "a", 3: "b"}


def test_categories_may_be_numbers(folder):
    content = coco()
    content["categories"] = [{"id": 90, "name": 5}, {"id": 17, "name": "cat"}]
    (folder / "c.json").write_text(json.dumps(content))
    assert only("c.json")[0].classes == {1: "cat", 2: "5"}


@pytest.mark.parametrize("kind", ["palette", "grey", "colours", "colours with alpha"])
def test_class_numbers_in_every_form(folder, kind):
    picture = Image.fromarray(LABELS)
    if kind == "palette":
        picture.putpalette(voc_colors().tobytes())
    if kind.startswith("colours"):
        picture = Image.fromarray(voc_colors()[LABELS]).convert("RGBA" if "alpha" in kind else "RGB")
    picture.save("m.png")
    support, _ = only("a.png:m.png")
    np.testing.assert_array_equal(support.labels, LABELS)
    assert support.classes == {1: "class 1", 3: "class 3"}
    assert only("a.png:m.png", "3=dog, 1=cat")[0].classes == {1: "cat", 3: "dog"}
    assert only("a.png:m.png", "3=dog")[0].classes == {3: "dog"}


@pytest.mark.parametrize("name", ["", "cat="])
@pytest.mark.parametrize("palette", [voc_colors(), np.repeat(np.arange(256)[:, None], 3, 1)], ids=["voc", "grey"])
def test_a_recompressed_mask_is_refused(folder, palette, name):
    """Object and background may have changed places, which the picture does not show."""
    save_palette(Path("m.png"), 3 * MASK, palette)
    np.testing.assert_array_equal(only(f"{name}a.png:m.png")[0].labels, 3 * MASK)
    recompress(Path("m.png"), np.random.RandomState(0))
    with pytest.raises(DataError, match=r"label map m\.png contradicts itself"):
        only(f"{name}a.png:m.png")


def test_label_maps_with_colours_of_their_own_agree_with_each_other(folder):
    own = np.array([(0, 0, 0), (250, 9, 9), (9, 250, 9)])
    save_palette(Path("m.png"), MASK, own)
    save_palette(Path("n.png"), 2 * MASK, own[[0, 2, 1]])
    with pytest.raises(
        DataError, match=r"label maps m\.png and n\.png contradict each other: the colour \(250, 9, 9\)"
    ):
        read_supports(["a.png:m.png", "a.png:n.png"])
    assert len(read_supports(["cat=a.png:m.png", "dog=a.png:n.png"])[0]) == 2  # a named mask marks one class


def test_names_that_look_alike(folder):
    white("L").save("m.png")
    with pytest.raises(DataError, match="the classes 'Cat' and 'cat', whose names differ by case or spaces at most"):
        read_supports(["Cat=a.png:m.png", "cat=a.png:m.png"])
    supports, _ = read_supports(["be\u0301=a.png:m.png", "b\u00e9=a.png:m.png"], "be\u0301")
    assert [support.classes for support in supports] == [{1: "b\u00e9"}] * 2


@pytest.mark.parametrize("tool", ["coco", "labelme"])
@pytest.mark.parametrize(
    ("stated", "on_disk", "root"),
    [
        ("images\\a.png", "images/a.png", None),
        ("..\\..\\media\\upload\\4\\a.png", "a.png", None),
        ("C:\\Users\\me\\a.png", "images/a.png", "images"),
        ("images\\1/a.png", "images/a.png", "images"),
        ("my%20photo.png", "my photo.png", None),
        ("/data/upload/my%20photo.png", "images/my photo.png", "images"),
        ("100%25.png", "100%25.png", None),
        ("\u00e9.png", "e\u0301.png", None),
        ("e\u0301/e\u0301.png", "\u00e9/\u00e9.png", None),
    ],
)
def test_photos_are_found_as_people_write_them(folder, tool, stated, on_disk, root):
    (folder / on_disk).parent.mkdir(exist_ok=True)
    (folder / "a.png").rename(folder / on_disk)
    if tool == "coco":
        content = coco()
        content["images"][0]["file_name"] = stated
    else:
        content = labelme(shapes=[shape("cat", "rectangle", (2, 2), (9, 9))], photo=stated)
    (folder / "c.json").write_text(json.dumps(content))
    support, _ = only("c.json", root=folder / root if root else None)
    assert Path(support.image_name).resolve() == folder / on_disk


def test_a_photo_that_is_not_found_is_said_with_what_helps(folder):
    content = coco()
    content["images"][0]["file_name"] = "images\\A.png"
    (folder / "c.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the photo images/A\.png, which is not in \.; .* give --support-root"):
        read_supports(["c.json"])
    (folder / "images").mkdir()
    (folder / "a.png").rename("images/a.png")
    with pytest.raises(DataError, match=r"\(there is a\.png: upper and lower case are told apart\)"):
        read_supports(["c.json"])


def test_two_images_of_a_file_are_two_photos(folder):
    content = coco()
    for image, file_name in zip(content["images"], ("one/a.png", "two/a.png"), strict=True):
        image |= {"file_name": file_name, "height": HEIGHT, "width": WIDTH}
    content["annotations"][1]["image_id"] = 8
    (folder / "c.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"has the images one/a\.png and two/a\.png, for which there is a\.png alone"):
        read_supports(["c.json"])


def test_categories_that_look_alike(folder):
    content = coco()
    content["categories"][0]["name"] = "Cat"
    (folder / "c.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the categories of c\.json have the classes 'Cat' and 'cat'"):
        read_supports(["c.json"])
    content["annotations"].pop()  # a category without objects, as some tools write one for the project
    assert only_labels(folder, content).max() == 1
    content["categories"][0] = content["categories"][1] | {"name": "dog"}
    (folder / "c.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="two categories have the same id"):
        read_supports(["c.json"])


def test_masks_turn_with_their_photo(folder):
    """Stored lying, shown upright: a mask of either size fits; of a half turn both have the same size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PHOTO).save("t.jpg", exif=exif, quality=95)
    Image.fromarray(MASK * 255).save("lying.png")
    upright = Image.fromarray(MASK * 255).transpose(Image.Transpose.ROTATE_270)
    upright.save("upright.png")
    for name in ("lying", "upright"):
        support, notes = only(f"cat=t.jpg:{name}.png")
        assert support.pixels.shape == (WIDTH, HEIGHT, 3) and not notes
        np.testing.assert_array_equal(support.labels, np.asarray(upright) // 255)
    exif[0x0112] = 3
    Image.fromarray(PHOTO).save("t.jpg", exif=exif)
    support, (note,) = only("cat=t.jpg:lying.png")
    np.testing.assert_array_equal(support.labels, MASK)
    assert "taken as drawn on the turned picture" in note


def test_paths_may_hold_the_signs_between_them(folder):
    Image.fromarray(PHOTO).save("x=1:y.png")
    white("L").save("x=1:y.mask.png")
    assert only("x=1:y.png:x=1:y.mask.png")[0].image_name == "x=1:y.png"
    assert only("my cat=x=1:y.png:x=1:y.mask.png")[0].classes == {1: "my cat"}
    ((support,), _) = read_supports([("a=b", Path("x=1:y.png"), Path("x=1:y.mask.png"))])
    assert support.classes == {1: "a=b"} and support.image_name == "x=1:y.png"


def labelme(**shapes) -> dict:
    return {
        "shapes": list(shapes.get("shapes", ())),
        "imagePath": shapes.get("photo", "a.png"),
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def shape(label: str, kind: str, *points, **more) -> dict:
    return {"label": label, "shape_type": kind, "points": [list(map(float, p)) for p in points], **more}


def test_labelme_shapes_are_painted_in_order(folder):
    patch = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 255]], dtype=np.uint8)).save(patch, "png")
    shapes = [
        shape("cat", "polygon", (2.7, 3.2), (15.9, 3.2), (15.9, 10.9)),
        shape("dog", "rectangle", (20, 15), (12, 8)),
        shape("cat", "circle", (24, 5), (24, 8)),
        shape("eye", "mask", (1, 17), (2, 18), mask=base64.b64encode(patch.getvalue()).decode()),
    ]
    (folder / "l.json").write_text(json.dumps(labelme(shapes=shapes, photo="..\\elsewhere\\a.png")))
    support, _ = only("l.json")
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    cv2.fillPoly(expected, [np.array([[2, 3], [15, 3], [15, 10]], dtype=np.int32)], 1)
    expected[8:16, 12:21] = 2
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    circle = (y - 5) ** 2 + (x - 24) ** 2
    assert (support.labels[circle <= 4] == 1).all() and (support.labels[(circle > 20) & (x > 20) & (y < 8)] == 0).all()
    away = (circle > 20) & ~((x < 3) & (y > 16))
    np.testing.assert_array_equal(support.labels[away], expected[away])
    np.testing.assert_array_equal(support.labels[17:19, 1:3], [[0, 3], [3, 3]])
    assert support.classes == {1: "cat", 2: "dog", 3: "eye"} and support.image_name == "a.png"
    assert only("l.json", "dog")[0].classes == {2: "dog"}


def coco() -> dict:
    square = [4, 4, 12, 4, 12, 12, 4, 12]
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 8, "file_name": "not here.png", "height": 4, "width": 4},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 17, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 17, "segmentation": [square], "iscrowd": 0},
            {
                "id": 2,
                "image_id": 7,
                "category_id": 90,
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 20, 40, HEIGHT * 10 - 40]},
            },
        ],
    }


def test_coco_files_are_painted_as_the_data_set_is(folder):
    (folder / "c.json").write_text(json.dumps(coco()))
    support, _ = only("c.json")
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[4:13, 4:13] = 1
    expected[:, 20:22] = 2
    np.testing.assert_array_equal(support.labels, expected)
    assert support.classes == {1: "cat", 2: "dog"} and support.image_name == "a.png"
    (folder / "sub").mkdir()
    (folder / "c.json").rename(folder / "sub" / "c.json")
    assert only("sub/c.json", "cat", folder)[0].classes == {1: "cat"}


def test_a_mask_that_is_stored_as_a_crowd_region_is_painted(folder):
    """CVAT exports masks so, and objects that it stores so are objects."""
    content = coco()
    plain = only_labels(folder, content)
    content["annotations"][1]["iscrowd"] = 1
    crowd = only_labels(folder, content)
    np.testing.assert_array_equal(crowd, plain)
    assert (crowd == 2).sum() == 2 * HEIGHT


def only_labels(folder: Path, content: dict) -> np.ndarray:
    (folder / "c.json").write_text(json.dumps(content))
    return only("c.json")[0].labels


BOX = [[2, 2], [9, 2], [9, 9], [2, 9]]
WITHOUT_PIXELS = {
    "two corners": ([[3, 3], [9, 9]], "fewer than three corners"),
    "three corners, of which two are one": ([[3, 3], [9, 9], [3, 3]], "fewer than three corners"),
    "no corner": ([], "an empty outline|fewer than three corners"),
    "a line of four corners": ([[1, 1], [3, 3], [5, 5], [9, 9]], "an outline without an area"),
    "shares of the image": ([[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]], "corners from 0 to 1, which are shares of the image"),
    "left of the image": ([[-9, 2], [-2, 2], [-2, 9]], "outside the image"),
    "below the image": ([[2, HEIGHT], [9, HEIGHT], [9, HEIGHT + 7]], "outside the image"),
}


def flat(corners: list) -> list:
    return [value for corner in corners for value in corner]


def drawn(tool: str, *objects: tuple[str, list]) -> dict:
    """Return a file of a tool with outlines (label, corners) on the photo."""
    if tool == "labelme":
        return labelme(shapes=[shape(label, "polygon", *corners) for label, corners in objects])
    content, names = coco(), list(dict.fromkeys(label for label, _ in objects))
    content["categories"] = [{"id": place, "name": name} for place, name in enumerate(names)]
    content["annotations"] = [
        {"id": place, "image_id": 7, "category_id": names.index(label), "segmentation": [flat(corners)]}
        for place, (label, corners) in enumerate(objects)
    ]
    return content


@pytest.mark.parametrize("tool", ["coco", "labelme"])
@pytest.mark.parametrize(("corners", "reason"), WITHOUT_PIXELS.values(), ids=WITHOUT_PIXELS)
def test_outlines_that_mark_no_pixel_are_left_out_and_counted(folder, tool, corners, reason):
    """The two readers agree, by one function; what is beside is painted as if it were alone."""
    content = drawn(tool, ("cat", BOX), ("dog", corners), ("dog", corners), ("cat", corners))
    (folder / "c.json").write_text(json.dumps(content))
    support, (note,) = only("c.json")
    assert support.classes == {1: "cat"}
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:10, 2:10] = 1
    np.testing.assert_array_equal(support.labels, expected)
    assert note.startswith("c.json: objects, or parts of one, that mark no pixel are left out: 2 of dog (")
    assert re.search(rf"2 of dog \(({reason}).*1 of cat \(({reason})", note)


@pytest.mark.parametrize("tool", ["coco", "labelme"])
def test_objects_that_others_cover_are_left_out(folder, tool):
    (folder / "c.json").write_text(json.dumps(drawn(tool, ("dog", [[4, 4], [6, 4], [6, 6]]), ("cat", BOX))))
    support, (note,) = only("c.json")
    assert list(support.classes.values()) == ["cat"] and note.endswith("left out: 1 of dog (covered by others)")
    assert (support.labels == next(iter(support.classes))).sum() == 64


OTHER_OBJECTS = [
    ({"segmentation": [], "bbox": [2, 2, 5, 5]}, "a box alone"),
    ({"segmentation": ..., "bbox": [2, 2, 5, 5]}, "a box alone"),
    ({"segmentation": ..., "keypoints": [3, 3, 2]}, "an empty outline"),
    ({"segmentation": []}, "an empty outline"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}}, "an empty outline"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "hb0"}, "iscrowd": 1}, "an empty outline"),
]


@pytest.mark.parametrize(("changes", "reason"), OTHER_OBJECTS)
def test_annotations_without_an_outline_are_left_out_and_counted(folder, changes, reason):
    content = coco()
    plain = only_labels(folder, content)
    extra = {**content["annotations"][0], "id": 3, "category_id": 90, **changes}
    content["annotations"].append({key: value for key, value in extra.items() if value is not ...})
    (folder / "c.json").write_text(json.dumps(content))
    support, (note,) = only("c.json")
    np.testing.assert_array_equal(support.labels, plain)
    assert note == f"c.json: objects, or parts of one, that mark no pixel are left out: 1 of dog ({reason})"
    content["annotations"] = content["annotations"][2:]
    (folder / "c.json").write_text(json.dumps(content))
    assert read_supports(["c.json"]) == ([], [note, "c.json: categories without an object are no classes: cat"])


@pytest.mark.parametrize(
    ("parts", "reason"), [([[]], "an empty outline"), ([[20, 1, 28, 1], [15, 15]], "fewer than three corners")]
)
def test_a_part_that_marks_no_pixel_is_left_out_of_its_object(folder, parts, reason):
    content = coco()
    plain = only_labels(folder, content)
    content["annotations"][0]["segmentation"] += parts
    (folder / "c.json").write_text(json.dumps(content))
    support, (note,) = only("c.json")
    np.testing.assert_array_equal(support.labels, plain)
    assert note.endswith(f"left out: 1 of cat (a part of one: {reason})")


@pytest.mark.parametrize("tool", ["coco", "labelme"])
@pytest.mark.parametrize(("label", "value", "word"), [("_background_", 0, "background"), ("__ignore__", 255, "void")])
def test_reserved_labels_paint_background_and_void(folder, tool, label, value, word):
    """As LabelMe's own labelme2voc paints them: a hole is no class, and what lies over it is seen."""
    hole, spot = [[4, 4], [7, 4], [7, 7], [4, 7]], [[5, 5], [6, 5], [6, 6]]
    (folder / "c.json").write_text(json.dumps(drawn(tool, (label, hole), ("cat", BOX), (label, hole), ("cat", spot))))
    support, (note,) = only("c.json")
    ((number, name),) = support.classes.items()
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:10, 2:10] = number
    expected[4:8, 4:8] = value
    expected[5, 5:7] = expected[6, 6] = number
    np.testing.assert_array_equal(support.labels, expected)
    assert name == "cat" and note.startswith("c.json: ") and note.endswith(f"{label} is {word}")


@pytest.mark.parametrize("tool", ["coco", "labelme"])
@pytest.mark.parametrize(
    ("corners", "is_cut"),
    [
        ([[-2, -2], [WIDTH + 2, -2], [WIDTH + 2, HEIGHT + 2]], False),
        ([[5, 5], [33.5, 5], [33.5, 12], [5, 12]], True),
        ([[20, 15], [80, 15], [80, 59], [20, 59]], True),
        ([[-7, 5], [9, 5], [9, 12]], True),
    ],
)
def test_corners_outside_the_image_are_counted_and_said(folder, tool, corners, is_cut):
    (folder / "c.json").write_text(json.dumps(drawn(tool, ("cat", corners), ("cat", corners), ("dog", BOX))))
    support, notes = only("c.json")
    assert set(support.classes.values()) == {"cat", "dog"}
    told = [note for note in notes if "reach out of the image" in note]
    assert [note.endswith("cut: 2 of cat") for note in told] == [True] * is_cut


def stated(corners: list | dict, **values: object) -> dict:
    """Return a COCO file of one object that states values of itself."""
    content = drawn("coco", ("cat", corners if isinstance(corners, list) else BOX))
    content["annotations"][0] |= values | ({"segmentation": corners} if isinstance(corners, dict) else {})
    return content


SQUARE = [[4, 4], [14, 4], [14, 14], [4, 14]]
RUNS = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 20, 40, HEIGHT * 10 - 40]}
HONEST = [
    (SQUARE, {}),
    (SQUARE, {"bbox": [4, 4, 10, 10], "area": 100}),
    (SQUARE, {"bbox": [4, 4, 11, 11], "area": 121}),
    (SQUARE, {"bbox": [0.13, 0.2, 0.33, 0.5], "area": 0.17}),  # shares of the image
    (SQUARE, {"bbox": [0, 0, 24, 19], "area": 456}),  # drawn by hand, and its area
    (SQUARE, {"bbox": [], "area": 0}),
    (SQUARE, {"bbox": [9, 9, 10, 10, 30], "area": True}),  # turned
    (SQUARE, {"bbox": [float("nan"), 4, 10, 10], "area": float("nan")}),
    (SQUARE, {"bbox": {"x": 4}, "area": 10**400}),
    (SQUARE, {"area": 30}),  # with a hole that the outline lacks
    ([[-40, 2], [6, 2], [6, 12], [-40, 12]], {"bbox": [0, 2, 6, 10], "area": 60}),  # cut at the border
    ([[2, 2], [27, 17], [26, 17]], {"bbox": [2, 2, 25, 15], "area": 7.5}),  # thin
    ([[9, 9], [10, 9], [10, 10]], {"bbox": [9.9, 9.9, 0.6, 0.6], "area": 0.2}),
    (RUNS, {"bbox": [20, 0, 2, 20], "area": 40}),
]


@pytest.mark.parametrize(("corners", "values"), HONEST)
def test_what_programs_state_of_an_object_is_no_contradiction(folder, corners, values):
    assert only_labels(folder, stated(corners, **values)).any()


CONTRADICTED = [
    (SQUARE, {"bbox": [20, 12, 6, 6], "area": 100}, r"bbox \[20, 12, 6, 6\]"),
    ([[2, 2], [4, 2], [4, 4], [2, 4]], {"bbox": [0, 0, 30, 20]}, r"bbox \[0, 0, 30, 20\]"),
    ([[20, 10], [80, 10], [80, 59], [20, 59]], {"bbox": [5, 2.5, 15, 12]}, r"bbox \[5, 2.5, 15, 12\]"),
    (RUNS, {"bbox": [2, 2, 5, 5]}, r"bbox \[2, 2, 5, 5\]"),
]


@pytest.mark.parametrize(("corners", "values", "told"), CONTRADICTED)
def test_an_object_that_contradicts_itself_is_refused_by_its_id(folder, corners, values, told):
    """The box is of another object, or the outline of another size of the image."""
    (folder / "c.json").write_text(json.dumps(stated(corners, id=77, **values)))
    with pytest.raises(DataError, match=rf"^annotation 77 of c\.json, cat, has the {told}, which its outline or mask"):
        read_supports(["c.json"])


def test_one_part_may_have_the_box(folder):
    content = stated(SQUARE, bbox=[4, 4, 10, 10], area=100)
    content["annotations"][0]["segmentation"].append([25, 1, 29, 1, 29, 19])
    assert only_labels(folder, content)[4:15, 4:15].all()


def test_objects_are_what_their_place_says(folder):
    """Values that tools add may have the keys of images and annotations, and images a key "image_id"."""
    content = coco()
    plain = only_labels(folder, content)
    inner = {"image_id": 3, "file_name": "frame_7.png", "segmentation": [[1, 2]]}
    content["info"] = {"file_name": "export.zip", **inner}
    for entry in (*content["images"], *content["annotations"], *content["categories"]):
        entry["attributes"] = {**inner, "source": {"image_id": "x", "category_id": None}}
        entry["metadata"] = [content["annotations"][0] | {"attributes": {}}, {"file_name": None}]
    for entry in content["images"]:
        entry |= {"image_id": entry["id"], "category_id": 1}
    for entry in content["categories"]:
        entry |= {"file_name": "icon.png", "height": 1, "width": 1, "image_id": 7}
    np.testing.assert_array_equal(only_labels(folder, content), plain)


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT + 1), (HEIGHT, WIDTH)])
def test_another_size_is_said_with_both(folder, size):
    Image.new("L", size, 255).save("m.png")
    with pytest.raises(DataError, match=rf"a.png is 30x20 pixels and its label map m.png {size[0]}x{size[1]}"):
        only("cat=a.png:m.png")


REFUSALS = [
    ("cat=a.png:empty.png", "", "marks nothing; expected white"),
    ("cat=a.png:void.png", "", r"marks nothing but void \(255\)"),
    ("cat=a.png:odd.png", "", "shows red 300 pixels, green 300 pixels; .* give red=cat,green=dog"),
    ("cat=a.png:two.png", "", "--classes 1=cat,3=… and leave out 'cat='"),
    ("cat=a.png:m.jpg", "", "is a JPEG; expected class numbers"),
    ("cat=a.png:m.tif", "", "has CMYK pixels of 8 bits; expected class numbers"),
    ("cat=a.png:no.png", "", "mask no.png cannot be decoded"),
    ("cat=no.png:m.png", "", "image no.png cannot be decoded"),
    ("cat=a.png", "", r"names no mask; expected \[name=\]photo:mask.png"),
    ("a.png:two.png", "9=cat", "the numbers 1, 3, none of which --classes names"),
    ("cat=a.png:m.png", "bird", "no support shows the class 'bird' of --classes"),
    ("a.png:two.png", "1=cat,x", "expected numbers from 1 to 254 and names"),
    ("a.png:two.png", "1=cat,3=cat", "expected numbers from 1 to 254 and names, each once"),
    ("no.json", "", "neither shapes nor annotations"),
    ("cut.json", "", "is no JSON file"),
    ("line.json", "", r"has no shape with an area; .*1 of cat \(fsbench does not read the shape .line.\)"),
    ("hole.json", "", r"has no shape with an area; .*_background_ is background"),
    ("a.png:smooth.png", "", "grey levels, as smoothed edges have; name its one class"),
    ("none.json", "", "has no shape"),
    ("gone.json", "", "is about the photo gone.jpg, which is not in"),
    ("cat=none.json:none.json", "", "leave out 'cat='"),
    ("nothing", "", "the folder nothing has no support; expected JSON files of LabelMe or COCO in it, or photos/"),
    ("pairs", "", "p0.png has 2 photos of its name .* expected one"),
]


@pytest.fixture
def unusable(folder: Path) -> Path:
    """Files and folders that are no supports."""
    Image.new("L", (WIDTH, HEIGHT)).save("empty.png")
    save_palette(Path("void.png"), np.full((HEIGHT, WIDTH), 255, dtype=np.uint8), voc_colors())
    odd = Image.new("RGB", (WIDTH, HEIGHT), (220, 20, 20))
    odd.paste((20, 220, 20), (0, 0, WIDTH // 2, HEIGHT))
    odd.save("odd.png")
    Image.fromarray(LABELS).save("two.png")
    white("L").save("m.png")
    white("L").save("m.jpg")
    white("RGB").convert("CMYK").save("m.tif")
    smooth().save("smooth.png")
    circle = shape("cat", "circle", (5, 5), (9, 9))
    texts = {
        "no.png": "no picture",
        "no.json": "{}",
        "cut.json": "{",
        "line.json": json.dumps(labelme(shapes=[shape("cat", "line", (1, 1), (9, 9))])),
        "hole.json": json.dumps(drawn("labelme", ("_background_", BOX))),
        "none.json": json.dumps(labelme()),
        "gone.json": json.dumps(labelme(shapes=[circle], photo="gone.jpg")),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name in ("nothing", "pairs/photos", "pairs/masks"):
        (folder / name).mkdir(parents=True)
    for name in ("photos/p0.png", "photos/p0.jpg", "masks/p0.png"):
        white("L").save(Path("pairs", name))
    return folder


@pytest.mark.parametrize(("text", "classes", "expected"), REFUSALS)
def test_what_cannot_be_used_is_said_in_one_line(unusable, text, classes, expected):
    with pytest.raises((DataError, SettingsError), match=expected) as refused:
        read_supports([text], classes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", ["photos", "."])
def test_a_folder_has_photos_and_masks_or_a_file_of_a_tool(folder, place):
    for name in ("marked/masks", "coco/photos"):
        (folder / name).mkdir(parents=True)
    (folder / "marked/photos").mkdir()
    for name in ("p0.png", "p1.jpg", "unmarked.png"):
        Image.fromarray(PHOTO).save(Path("marked/photos", name))
    for name in ("p0.png", "p1.jpg.png"):
        white("L").save(Path("marked/masks", name))
    supports, notes = read_supports(["marked"], "1=cup")
    assert [Path(one.image_name).name for one in supports] == ["p0.png", "p1.jpg"] and not notes
    assert all(one.classes == {1: "cup"} for one in supports)
    np.testing.assert_array_equal(supports[0].labels, MASK)
    (folder / "coco/c.json").write_text(json.dumps(coco()))
    (folder / "a.png").rename(folder / "coco" / place / "a.png")
    assert only("coco")[0].classes == {1: "cat", 2: "dog"}


def changed(path: str, value: object) -> dict:
    """The content of `coco` with a value in another's place, at a path such as "annotations.0.id"; without it for
    `...`."""
    content = coco()
    *outer, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    entry = content
    for key in outer:
        entry = entry[key]
    if value is ...:
        del entry[last]
    else:
        entry[last] = value
    return content


SEGMENTATION = "annotations.1.segmentation"
MALFORMED_COCO = [
    ("images", ..., "it has no list of images"),
    ("images.0.id", 8, "two images have the same id or file name"),
    ("images.0.id", "7", "id is '7', not a whole number"),
    ("images.0.file_name", 7, "file_name is '7', not text"),
    ("images.0.width", 10**9, "is stated to have 1000000000x20 pixels"),
    ("images.0.width", WIDTH - 1, "unusable run-length mask"),
    ("annotations.0.id", ..., 'annotations\\[0\\] has no "id"'),
    ("annotations.0.image_id", 99, "is on image 99, which is not listed"),
    ("annotations.0.category_id", 99, "has the category id 99, which is not listed"),
    ("annotations.0.category_id", None, "category_id is 'None', not a whole number"),
    ("annotations.0.category_id", True, "category_id is 'True', not a whole number"),
    ("annotations.0.segmentation", ..., 'annotations\\[0\\] has no "segmentation"'),
    ("annotations.0.segmentation", 7, "cannot be used"),
    ("annotations.0.segmentation", "abc", "a polygon that is not a list of x, y in pixels"),
    ("annotations.0.segmentation", [[[1, 2], [3, 4]]], "a polygon that is not a list of x, y in pixels"),
    ("images.0.height", 10**30, "cannot be used"),
    ("annotations.0.segmentation", [[1, 1, 10**400, 1, 9, 9]], "cannot be used"),
    ("annotations.0.segmentation", [[1, 2, float("nan"), 4]], "a polygon that is not a list of x, y in pixels"),
    ("annotations.0.segmentation", [[1, 2, 900, 4, 5, 6]], "is not near its image of 30x20 pixels"),
    (SEGMENTATION, {}, "unusable run-length mask"),
    (f"{SEGMENTATION}.size", [20, 31], r"unusable run-length mask \(its size is \[20, 31\]"),
    (f"{SEGMENTATION}.counts", [400, 40], "its runs do not fill 600 pixels"),
    (f"{SEGMENTATION}.counts", [700, -100], "its runs do not fill 600 pixels"),
    (f"{SEGMENTATION}.counts", [400.5, 199.5], "its runs are no whole numbers"),
    (f"{SEGMENTATION}.counts", "\u20ac", "its runs hold the character"),
    ("categories", ..., "it has no list of categories"),
    ("categories.0.name", None, "a category has no name"),
    ("images.0.file_name", "gone.png", "photo gone.png, which is not in .; put it there or give --support-root"),
    ("images.0.file_name", "m.json", "cannot be decoded"),
]


@pytest.mark.parametrize(("path", "value", "expected"), MALFORMED_COCO)
def test_what_is_wrong_in_a_coco_file_is_said_in_one_line(folder, path, value, expected):
    (folder / "m.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(DataError, match=expected) as refused:
        read_supports(["m.json"])
    assert "\n" not in str(refused.value)


def test_a_photo_of_another_size_than_coco_states_is_refused(folder):
    content = changed("images.0.width", WIDTH + 1)
    content["annotations"].pop()  # a mask of runs, which has a size of its own
    (folder / "m.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a.png is 30x20 pixels and its label map m.json 31x20"):
        read_supports(["m.json"])


def test_negatives_are_photos_and_marked_regions(folder):
    (folder / "none" / "deep").mkdir(parents=True)
    for name in ("none/b.png", "none/deep/c.jpg"):
        Image.fromarray(PHOTO).save(name)
    Image.fromarray(MASK * 255).save("m.png")
    Image.fromarray(np.where(LABELS == 255, 0, LABELS)).save("two.png")
    (folder / "empty.json").write_text(json.dumps(labelme()))
    (folder / "l.json").write_text(json.dumps(labelme(shapes=[shape("dog", "rectangle", (2, 2), (9, 9))])))
    given = ["a.png", "none", "a.png:m.png", "plush=a.png:m.png", "a.png:two.png", "empty.json", "l.json"]
    read, notes = read_negatives(given)
    other = "something else"
    shown = [{}, {}, {}, {1: other}, {1: "plush"}, {1: other, 3: other}, {}, {1: "dog"}]
    assert [one.classes for one in read] == shown and not notes
    assert [one.image_name for one in read[:3]] == ["a.png", "none/b.png", "none/deep/c.jpg"]
    assert not any(one.labels.any() for one in read if not one.classes)
    supports = [Support("s", PHOTO, MASK, {1: "cat"}), Support("t", PHOTO, MASK, {1: "cat"})]
    made = stack_supports(supports, 8, "pil", read)
    assert made.classes == ("cat",) and made.shots == (2,) and made.regions == (other, "plush", other, other, "dog")
    assert made.image_names == ("s", "t", "a.png"), "whole photos are no supports"
    assert made.rows.tolist() == [[[0, 1], *[[2, 2]] * 5]]
    with pytest.raises(SettingsError, match=r"support x.nii.gz:m.png: there is no file x.nii.gz"):
        read_negatives(["x.nii.gz:m.png"])
    with pytest.raises(SettingsError, match=r"negative nome: there is no such file or folder.*none.*expected a photo"):
        read_negatives(["nome"])


def test_masks_beside_photos_are_no_photos(folder):
    """Neither of supports, nor of what it is not."""
    (folder / "beside").mkdir()
    for name in ("marked.jpg", "plain.png", "dotted.png"):
        Image.fromarray(PHOTO).save(f"beside/{name}")
    for name in ("marked.png", "dotted.png.png"):
        Image.fromarray(MASK * 255).save(f"beside/{name}")
    read, _ = read_negatives(["beside"])
    names = ["beside/plain.png", "beside/dotted.png", "beside/marked.jpg"]
    assert [one.image_name for one in read] == names
    assert [one.classes for one in read] == [{}, *[{1: "something else"}] * 2]
    supports, (note,) = read_supports(["beside"])
    assert [one.image_name for one in supports] == names[1:]
    assert note == "left out, as no mask or photo has the same name: beside/plain.png"


@pytest.mark.parametrize("place", ["neg", "neg/deep"])
def test_pngs_of_a_photos_name_are_its_masks_or_photos_by_what_they_hold(folder, place):
    """Masks in capital letters, and in folders within the folder, are those of their photos, too."""
    (folder / place).mkdir(parents=True)
    grey = Image.fromarray(PHOTO).convert("L")
    large = Image.fromarray(np.kron(MASK, np.full((2, 2), 255, np.uint8)))
    pngs = {"colours.png": Image.fromarray(PHOTO), "grey.png": grey, "large.png": large, "few.png": grey.quantize(64)}
    masks = {"mask.PNG": white("L"), "soft.png": smooth(), "labels.png": Image.fromarray(MASK * 2)}
    for name, picture in {**pngs, **masks}.items():
        Image.fromarray(PHOTO).save(f"{place}/{Path(name).stem}.jpg")
        picture.save(f"{place}/{name}")
    grey.save(f"{place}/colours.jpeg")
    read, (note, softened) = read_negatives(["neg"])
    assert "smoothed" in softened
    names = sorted([*(f"{Path(name).stem}.jpg" for name in pngs), *pngs, "colours.jpeg"])
    assert [one.image_name for one in read if not one.classes] == [f"{place}/{name}" for name in names]
    marked = sorted(one.image_name for one in read if one.classes)
    assert marked == [f"{place}/{name}.jpg" for name in ("labels", "mask", "soft")]
    alike = ", ".join(f"{place}/{name}" for name in sorted(pngs))
    assert note.startswith(f"negatives: taken as photos, though other photos have their names: {alike}; a mask is")


def test_masks_in_capital_letters_are_found_beside_photos_and_in_their_folder(folder):
    for names in (
        ("near/x.jpg", "near/x.PNG"),
        ("apart/photos/x.jpg", "apart/masks/x.PNG"),
        ("both/x.PNG", "both/x.png"),
    ):
        for name, picture in zip(names, (Image.fromarray(PHOTO), white("L")), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            picture.save(name)
        (support,), notes = read_supports([names[0].partition("/")[0]])
        assert support.image_name == names[0] and not notes
        np.testing.assert_array_equal(support.labels, MASK)


def test_of_many_photos_without_the_classes_the_first_are_read(folder):
    """Each takes memory, and is asked for the check alone."""
    (folder / "none").mkdir()
    for number in range(13):
        Image.fromarray(PHOTO).save(f"none/{number:02}.png")
    read, (note,) = read_negatives(["none"])
    assert [one.image_name for one in read] == [f"none/{number:02}.png" for number in range(10)]
    assert note == "negatives: the first 10 of 13 photos without the classes are asked"


def test_fewer_supports_are_repeated_in_turn():
    masks = [np.zeros((8, 8), dtype=np.uint8) for _ in range(4)]
    for number, mask in enumerate(masks):
        mask[number : number + 4] = 1
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    supports = [Support(f"a{n}", pixels, mask, {1: "a"}) for n, mask in enumerate(masks[:3])]
    supports += [Support("b0", pixels, masks[3], {1: "b"}), Support("a0", pixels, masks[1], {1: "b"})]
    made = stack_supports(supports, 8, "pil")
    assert made.classes == ("a", "b") and made.shots == (3, 2) and len(made.images) == 4
    assert made.rows.tolist() == [[[0, 1, 2], [3, 0, 3]]]
    np.testing.assert_array_equal(made.labels[0, 1].numpy(), [masks[3], masks[1], masks[3]])
    assert "those of b (2) are repeated until there are 3" in made.note
    assert not stack_supports(supports[:3], 8, "pil").note


def test_a_mask_that_vanishes_is_said():
    mask = np.zeros((400, 400), dtype=np.uint8)
    mask[7, 7] = 1
    with pytest.raises(DataError, match=r"mask of a on p has 1 pixels, of which none is left at 16x16"):
        stack_supports([Support("p", np.zeros((400, 400, 3), dtype=np.uint8), mask, {1: "a"})], 16, "pil")


def test_a_photo_without_shapes_is_a_support_without_classes(folder):
    (folder / "l.json").write_text(json.dumps(labelme(shapes=[shape("dog", "rectangle", (2, 2), (9, 9))])))
    (folder / "empty.json").write_text(json.dumps(labelme()))
    for chosen in ("", "dog"):
        read, notes = read_supports(["l.json", "empty.json"], chosen)
        assert [one.classes for one in read] == [{1: "dog"}, {}] and not notes
        assert read[1].pixels.shape == PHOTO.shape and not read[1].labels.any()
