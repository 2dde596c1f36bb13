"""One set of photos in every form that people have gives the same table, and nothing is dropped without a word."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.labelled.classes import parse_classes
from fsbench.data.labelled.image import LabelledImage, MaskFile
from fsbench.data.labelled.photos import part_word
from fsbench.data.labelled.table import LabelledTable, read_table
from fsbench.predict.supports import read_negatives, read_supports

HEIGHT, WIDTH, PHOTOS, TRAINED = 24, 32, 5, 3
CLASSES = ("disc", "square")


def corners(photo: int, number: int) -> list[list[int]]:
    top, left = photo, 2 + 15 * (number - 1)
    return [[left, top], [left + 9, top], [left + 9, top + 12], [left, top + 12]]


def label_map(photo: int) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in (1, 2):
        (left, top), _, (right, bottom), _ = corners(photo, number)
        labels[top : bottom + 1, left : right + 1] = number
    return labels


def draw(path: Path, photo: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(photo).randint(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)).save(path)


def paint(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def part(photo: int) -> str:
    return "train" if photo < TRAINED else "val"


def coco(photos: range, folder: str = "", **more: Callable[[int], str]) -> dict:
    return {
        "images": [
            {"id": n, "file_name": f"{folder}p{n}.jpg", "height": HEIGHT, "width": WIDTH}
            | {key: value(n) for key, value in more.items()}
            for n in photos
        ],
        "annotations": [
            {"id": 9 * n + k, "image_id": n, "category_id": 5 * k, "segmentation": [np.ravel(corners(n, k)).tolist()]}
            for n in photos
            for k in (1, 2)
        ],
        "categories": [{"id": 10, "name": "square"}, {"id": 5, "name": "disc"}],
    }


def labelme(path: Path, photo: int, stated: str) -> None:
    shapes = [{"label": name, "points": corners(photo, k)} for k, name in enumerate(CLASSES, 1)]
    content = {"shapes": shapes, "imagePath": stated, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def masks_beside(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / f"p{n}.jpg", n)
        paint(root / f"p{n}.png", label_map(n))


def masks_in_a_sister_folder(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / "JPEGImages" / f"p{n}.jpg", n)
        paint(root / "SegmentationClass" / f"p{n}.png", label_map(n))
    (root / "train.txt").write_text("p0\np1.jpg\nJPEGImages/p2.jpg\n")
    (root / "val.txt").write_text("p3\np4\n")


def parts_above(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / part(n) / "images" / f"p{n}.jpg", n)
        paint(root / part(n) / "masks" / f"p{n}.png", label_map(n))


def parts_below(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / "imgs" / part(n) / f"p{n}.jpg", n)
        paint(root / "labels" / part(n) / f"p{n}.png", label_map(n))


def parts_in_names(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / f"{part(n)}_images" / f"p{n}.jpg", n)
        paint(root / f"{part(n)}_masks" / f"p{n}.png", label_map(n))


def labelme_beside(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / f"p{n}.jpg", n)
        labelme(root / f"p{n}.json", n, f"p{n}.jpg")


def labelme_apart(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / "images" / part(n) / f"p{n}.jpg", n)
        labelme(root / "annotations" / part(n) / f"p{n}.json", n, f"../../images/{part(n)}/p{n}.jpg")


def coco_alone(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / "photos" / f"p{n}.jpg", n)
    write(root / "coco.json", coco(range(PHOTOS)))


def coco_with_splits(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / f"p{n}.jpg", n)
    write(root / "coco.json", coco(range(PHOTOS), split=part))


def coco_with_folders(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / "images" / part(n) / f"p{n}.jpg", n)
    content = coco(range(PHOTOS))
    for n, image in enumerate(content["images"]):
        image["file_name"] = f"{part(n)}/p{n}.jpg"
    write(root / "annotations/all.json", content)


def coco_by_name(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / f"{part(n)}2017" / f"p{n}.jpg", n)
    write(root / "annotations/instances_train2017.json", coco(range(TRAINED)))
    write(root / "annotations/instances_val2017.json", coco(range(TRAINED, PHOTOS)))


def roboflow(root: Path) -> None:
    for n in range(PHOTOS):
        draw(root / ("train" if n < TRAINED else "valid") / f"p{n}.jpg", n)
    write(root / "train/_annotations.coco.json", coco(range(TRAINED)))
    write(root / "valid/_annotations.coco.json", coco(range(TRAINED, PHOTOS)))


def csv(root: Path, write_table: Callable[[pl.DataFrame], None] | None = None) -> pl.DataFrame:
    rows = []
    for n in range(PHOTOS):
        draw(root / "data" / f"p{n}.jpg", n)
        paint(root / "drawn" / f"m{n}.png", label_map(n))
        named = {"train": "Training", "val": "test"}[part(n)]
        rows.append((f"p{n}", f"data/p{n}.jpg", f"drawn/m{n}.png", named, f"patient {n // 2}", "1=disc;2=square"))
    frame = pl.DataFrame(rows, schema=["name", "photo", "labels", "part", "group", "classes"], orient="row")
    frame.write_csv(root / "table.csv")
    return frame


def parquet(root: Path) -> None:
    csv(root).write_parquet(root / "table.parquet")


NUMBERED = "1=disc,2=square"
FORMS = [
    (masks_beside, "", NUMBERED, False), (masks_in_a_sister_folder, "", NUMBERED, True),
    (parts_above, "", NUMBERED, True), (parts_below, "", NUMBERED, True), (parts_in_names, "", NUMBERED, True),
    (labelme_beside, "", "", False), (labelme_apart, "", "", True), (coco_alone, "", "", False),
    (coco_alone, "coco.json", "", False), (coco_with_splits, "", "", True), (coco_with_folders, "", "", True),
    (coco_by_name, "", "", True), (roboflow, "", "", True), (csv, "table.csv", "", True),
    (parquet, "table.parquet", "", True),
]  # fmt: skip


@pytest.mark.parametrize(("form", "file", "classes", "has_parts"), FORMS)
def test_every_form_gives_the_same_table(tmp_path, form, file, classes, has_parts):
    form(tmp_path)
    table = read_table(tmp_path / file, classes)
    assert table.class_names == CLASSES and not table.notes and len(table.images) == PHOTOS
    for n in range(PHOTOS):
        (name,) = (image.name for image in table.images if image.name.endswith(f"p{n}"))
        np.testing.assert_array_equal(table.label_map(name), label_map(n))
        assert table[name].part == ({"train": "trn", "val": "val"}[part(n)] if has_parts else None)
        assert table[name].group == (f"patient {n // 2}" if "table" in file else None)
    supports, notes = read_supports([str(tmp_path / file)], classes)
    assert len(supports) == PHOTOS and not notes
    assert {name for one in supports for name in one.classes.values()} == {*CLASSES}


def test_numbers_without_names_and_masks_of_one_class(tmp_path):
    masks_beside(tmp_path)
    paint(tmp_path / "p0.png", label_map(0) * 2)
    assert read_table(tmp_path).class_names == ("class 1", "class 2", "", "class 4")
    assert not read_table(tmp_path, "2=square").label_map("p1")[label_map(1) == 1].any()
    with pytest.raises(SettingsError, match="no support shows the class 'cat'"):
        read_table(tmp_path, "cat")
    table = LabelledTable((LabelledImage("a", tmp_path / "p1.jpg", MaskFile(tmp_path / "p1.png")),), ("class 2",))
    np.testing.assert_array_equal(table.label_map("a"), label_map(1) == 2)


def test_chosen_classes_alone_are_numbered(tmp_path):
    coco_alone(tmp_path)
    table = read_table(tmp_path, "square")
    assert table.class_names == ("square",)
    np.testing.assert_array_equal(table.label_map("p2"), label_map(2) == 2)


def test_folders_of_classes(tmp_path):
    for place, name in enumerate(("train/cat/a", "train/dog/b", "test/cat/c")):
        draw(tmp_path / f"{name}.jpg", place)
    table = read_table(tmp_path)
    assert {image.name: (image.part, dict(image.classes)) for image in table.images} == {
        "train/cat/a": ("trn", {"cat": True}), "train/dog/b": ("trn", {"dog": True}),
        "test/cat/c": ("val", {"cat": True}),
    }  # fmt: skip
    assert table.class_names == ("cat", "dog")
    paint(tmp_path / "train/cat/a.png", label_map(0))
    paint(tmp_path / "train/dog/b.png", label_map(0))
    (note,) = read_table(tmp_path).notes
    assert "names are no classes" in note


def test_val_beside_test_belongs_to_training(tmp_path):
    for place, name in enumerate(("train", "val", "test")):
        draw(tmp_path / name / "images" / "a.jpg", place)
        paint(tmp_path / name / "masks" / "a.png", label_map(0))
    table = read_table(tmp_path)
    assert [(one.name, one.part) for one in table.images] == [("test/a", "val"), ("train/a", "trn"), ("val/a", "trn")]
    assert "val belong to training" in table.notes[0]


def test_what_is_left_out_is_said(tmp_path):
    masks_in_a_sister_folder(tmp_path)
    paint(tmp_path / "SegmentationClass" / "orphan.png", label_map(0))
    Image.fromarray(label_map(0)).save(tmp_path / "JPEGImages" / "g.gif")
    (tmp_path / "notes.json").write_text('{"a": 1}')
    (tmp_path / "val.txt").write_text("p3\np4\ngone\n")
    draw(tmp_path / "overlays" / "p0.jpg", 0)
    labelme(tmp_path / "p1.json", 1, "JPEGImages/p1.jpg")
    (tmp_path / "found").mkdir()
    for name in ("annotations.json", "scores.csv"):
        (tmp_path / "found" / name).write_text("")
    table = read_table(tmp_path, NUMBERED)
    assert len(table.images) == PHOTOS
    for word in ("orphan.png", "g.gif", "notes.json", "gone", "overlays", "SegmentationClass/p1.png", "found"):
        assert any(word in note for note in table.notes), word
    assert len(table.notes) == 7
    np.testing.assert_array_equal(table.label_map("p1"), label_map(1))


def test_masks_and_annotation_files_together_are_all_read(tmp_path):
    """A JSON file hides no mask, of supports and of negatives."""
    masks_beside(tmp_path)
    (tmp_path / "p0.png").unlink()
    labelme(tmp_path / "p0.json", 0, "p0.jpg")
    supports, _ = read_supports([str(tmp_path)], NUMBERED)
    assert [Path(one.image_name).name for one in supports] == [f"p{n}.jpg" for n in range(PHOTOS)]
    negatives, _ = read_negatives([str(tmp_path)])
    assert len(negatives) == PHOTOS and all(one.classes for one in negatives)


def test_a_table_names_negatives_and_masks_of_one_class(tmp_path):
    draw(tmp_path / "a.jpg", 0)
    draw(tmp_path / "b.jpg", 1)
    paint(tmp_path / "a.png", (label_map(0) == 1) * np.uint8(255))
    (tmp_path / "t.csv").write_text("photo,labels,classes,seen by\na.jpg,a.png,cup,me\nb.jpg,,not cup;-saucer,me\n")
    table = read_table(tmp_path / "t.csv")
    in_folder = read_table(tmp_path)
    assert in_folder.images == table.images and len(in_folder.notes) == len(table.notes) + 1
    assert table.class_names == ("cup", "saucer") and "seen by" in table.notes[0]
    assert table["b"].labels is None and table["b"].classes == {"cup": False, "saucer": False}
    np.testing.assert_array_equal(table.label_map("a"), label_map(0) == 1)
    with pytest.raises(DataError, match="the image b is not labelled"):
        table.label_map("b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("image\na.jpg\n", "the columns image"), ("photo\ngone.jpg\n", r"line 2: there is no file .*gone\.jpg"),
        ("photo,part\na.jpg,left\n", "the part is 'left'"), ("photo,classes\na.jpg,a;-a\n", "the classes are 'a;-a'"),
        ("photo,labels\na.jpg,c.json\n", "COCO's file of many photos"), ("photo\n\"\"\n", "there is no photo"),
        ("photo\na.jpg\na.jpg\n", "two images named"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, text, found):
    draw(tmp_path / "a.jpg", 0)
    write(tmp_path / "c.json", coco(range(1)))
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=found):
        read_table(tmp_path / "t.csv")


def test_coco_files_that_are_refused(tmp_path):
    draw(tmp_path / "p0.jpg", 0)
    content = coco(range(1))
    content["annotations"] = [{"image_id": 0, "file_name": "p0.png", "segments_info": []}]
    write(tmp_path / "c.json", content)
    with pytest.raises(DataError, match="panoptic"):
        read_table(tmp_path / "c.json")
    flat = (label_map(0) == 1).astype(int).ravel()
    runs = np.diff(np.flatnonzero(np.diff(np.r_[-1, flat, -1])))
    counts = [0] * int(flat[0]) + runs.tolist()
    content = coco(range(1))
    (left, top), _, (right, bottom), _ = corners(0, 1)
    content["annotations"] = [
        {"id": 1, "image_id": 0, "category_id": 5, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}
        | {"bbox": [left, top, right - left + 1, bottom - top + 1], "iscrowd": 1}
    ]
    write(tmp_path / "c.json", content)
    with pytest.raises(DataError, match="run lengths along the rows"):
        read_table(tmp_path / "c.json")


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("tool", ["Label Studio", ""])
def test_outlines_on_a_turned_photo_of_which_a_file_states_the_stored_size(tmp_path, orientation, tool):
    """Label Studio writes shares of the photo as shown, times the stored size; others, places on the photo as shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.new("RGB", (40, 20))
    stored.save(tmp_path / "p0.jpg", exif=exif)
    shown = (20, 40) if orientation >= 5 else (40, 20)  # width and height
    outline = np.array([[2, 4], [14, 4], [14, 15], [2, 15]])
    content = coco(range(1))
    content["images"][0] |= {"width": 40, "height": 20}
    scale = np.divide((40, 20), shown) if tool else 1
    content["annotations"] = [
        {"id": 1, "image_id": 0, "category_id": 5, "segmentation": [(outline * scale).ravel().tolist()]}
    ]
    content["info"] = {"contributor": tool}
    write(tmp_path / "c.json", content)
    (support,), notes = read_supports([str(tmp_path / "c.json")], "disc")
    expected = np.zeros(shown[::-1], np.uint8)
    expected[4:16, 2:15] = 1
    np.testing.assert_array_equal(support.labels, expected)
    told = [note for note in notes if "taken as drawn on the turned picture" in note]
    assert len(told) == (0 if tool and orientation >= 5 else 1)


def test_words_for_parts():
    assert [part_word([text]) for text in ("instances_val2017", "trainer", "my-test.v2", "Validation", "x")] == [
        "val", "", "test", "val", ""
    ]  # fmt: skip


def test_colours_have_names(tmp_path):
    assert parse_classes("1=cat,red=dog, #00ff00 = cow") == (
        {1: "cat"}, {(255, 0, 0): "dog", (0, 255, 0): "cow"}, ()
    )  # fmt: skip
    with pytest.raises(SettingsError, match="expected numbers from 1 to 254"):
        parse_classes("nocolour=dog")
    draw(tmp_path / "a.jpg", 0)
    colours = np.array([(0, 0, 0), (250, 20, 0), (0, 0, 255)], np.uint8)
    paint(tmp_path / "a.png", colours[label_map(0)])
    table = read_table(tmp_path, "#fa1400=dog,blue=cow")
    assert table.class_names == ("cow", "dog")
    np.testing.assert_array_equal(table.label_map("a"), np.array([0, 2, 1])[label_map(0)])


def table(tmp_path: Path, *rows: str) -> LabelledTable:
    (tmp_path / "t.csv").write_text("\n".join(["photo,labels,part,classes", *rows]) + "\n")
    return read_table(tmp_path / "t.csv")


def test_255_is_void_where_other_label_maps_have_numbers_and_white_where_none_has(tmp_path):
    maps = {"a": (0, 1, 255), "b": (0, 1), "c": (0, 255)}
    for place, (name, numbers) in enumerate(maps.items()):
        draw(tmp_path / f"photos/{name}.jpg", place)
        paint(tmp_path / f"masks/{name}.png", np.resize(np.repeat(numbers, 40), (HEIGHT, WIDTH)).astype(np.uint8))
    found = read_table(tmp_path)
    assert {name: tuple(np.unique(found.label_map(name))) for name in maps} == maps
    assert "c.png" in " ".join(found.notes)
    for name in "ab":
        (tmp_path / f"masks/{name}.png").unlink()
    assert set(np.unique(read_table(tmp_path).label_map("c"))) == {0, 1}


def test_rows_number_classes_by_their_names(tmp_path):
    draw(tmp_path / "a.jpg", 0)
    draw(tmp_path / "b.jpg", 1)
    paint(tmp_path / "m.png", (label_map(0) == 1).astype(np.uint8))
    found = table(tmp_path, "a.jpg,m.png,test,1=cat", "b.jpg,m.png,,1=dog")
    assert [found.class_names[found.label_map(name).max() - 1] for name in "ab"] == ["cat", "dog"]
    assert [row.part for row in found.images] == ["val", "trn"] and "b" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("classes", "what"), [("1=cat", "the number 2"), ("300=cat", "300=cat"), ("cat;dog", "1=cat;2=dog")]
)
def test_numbers_without_a_name_are_refused(tmp_path, classes, what):
    draw(tmp_path / "a.jpg", 0)
    paint(tmp_path / "m.png", label_map(0))
    with pytest.raises(DataError, match=what):
        table(tmp_path, f"a.jpg,m.png,,{classes}").label_map("a")


def test_a_colour_that_is_named_stands_for_no_other(tmp_path):
    draw(tmp_path / "a.jpg", 0)
    paint(tmp_path / "m.png", (label_map(0) == 1)[..., None] * np.array([0, 255, 0], np.uint8))
    found = table(tmp_path, "a.jpg,m.png,,lime=cat;green=dog")
    assert found.class_names[found.label_map("a").max() - 1] == "cat"
