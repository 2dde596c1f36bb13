"""What lies in folders in a form of its own is read, refused or named, and never dropped without a word."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.labelled.table import read_table
from fsbench.predict.images import find_images
from fsbench.predict.supports import read_supports

SIDE = 16
CORNERS = [2, 2, 9, 2, 9, 9, 2, 9]


def draw(*paths: Path) -> None:
    for shade, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((SIDE, SIDE, 3), 50 * shade, np.uint8)).save(path)


def paint(*paths: Path) -> None:
    for number, path in enumerate(paths, start=1):
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[2:9, 2:9] = number
        Image.fromarray(labels).save(path)


def labelme(path: Path, stated: str, label: str | None, kind: str = "polygon") -> None:
    points = np.reshape(CORNERS, (4, 2)).tolist()
    shapes = [{"label": label, "points": points, "shape_type": kind}]
    path.write_text(json.dumps({"shapes": shapes, "imagePath": stated, "imageHeight": SIDE, "imageWidth": SIDE}))


def coco(path: Path, photo: str, category: int, **more: object) -> None:
    path.parent.mkdir(exist_ok=True)
    entry = {"id": 1, "image_id": 1, "category_id": category, "segmentation": [CORNERS], **more}
    content = {
        "images": [{"id": 1, "file_name": photo, "height": SIDE, "width": SIDE}],
        "annotations": [entry],
        "categories": [{"id": number, "name": name} for number, name in enumerate(("ant", "cat", "dog"), start=3)],
    }
    path.write_text(json.dumps(content))


def test_all_tables_of_a_folder_are_read_and_their_names_say_the_part(tmp_path):
    draw(*(tmp_path / f"{name}.jpg" for name in "abc"))
    (tmp_path / "train.csv").write_text("photo,classes\na.jpg,cat\nb.jpg,cat\n")
    (tmp_path / "test.csv").write_text("photo,part,classes\nc.jpg,,cat\n")
    (tmp_path / "sizes.csv").write_text("name,size\na,3\n")
    table = read_table(tmp_path)
    assert [(image.name, image.part) for image in table.images] == [("a", "trn"), ("b", "trn"), ("c", "val")]
    assert ["train.csv" in note and "test.csv" in note for note in table.notes] == [False, True]
    assert "sizes.csv" in table.notes[0]
    (tmp_path / "test.csv").write_text("photo\nb.jpg\n")
    with pytest.raises(DataError, match=r"test\.csv and .*train\.csv both have the photo .*b\.jpg"):
        read_table(tmp_path)


def test_names_of_lists_with_spaces_and_masks(tmp_path):
    draw(tmp_path / "images/my cat.jpg", tmp_path / "images/b.jpg")
    paint(tmp_path / "masks/my cat.png", tmp_path / "masks/b.png")
    (tmp_path / "train.txt").write_text("my cat.jpg\n")
    (tmp_path / "test.txt").write_text("images/b.jpg masks/b.png\n")
    table = read_table(tmp_path)
    assert {image.name: image.part for image in table.images} == {"my cat": "trn", "b": "val"} and not table.notes
    (tmp_path / "test.txt").write_text("b\nmy cat\n")
    with pytest.raises(DataError, match=r"test\.txt and .*train\.txt both name the image my cat"):
        read_table(tmp_path)


@pytest.mark.parametrize("lines", ["images{}/a.jpg", "a"])
def test_folders_with_numbers_belong_together(tmp_path, lines):
    for number, word in enumerate(("train", "test"), start=1):
        draw(tmp_path / word / f"images{number}/a.jpg", tmp_path / word / "images3/a.jpg")
        paint(*(tmp_path / word / f"masks{one}/a.png" for one in (number, 3)))
        (tmp_path / f"{word}.txt").write_text(lines.format(number))
    table = read_table(tmp_path)
    assert len(table.images) == 4
    for image in table.images:
        folder = Path(image.name).parent.name
        assert image.labels.file.parent.name == folder.replace("images", "masks")
        assert image.part == ("trn" if image.name.startswith("train") else "val")


def test_photos_that_a_table_denies_a_class_are_supports_without_one(tmp_path):
    draw(*(tmp_path / f"{name}.jpg" for name in "abcd"))
    paint(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("photo,labels,classes\na.jpg,a.png,cat\nb.jpg,,-cat\nc.jpg,,-dog\nd.jpg,,cat\n")
    supports, notes = read_supports([str(tmp_path / "t.csv")])
    assert [(Path(one.image_name).name, one.classes) for one in supports] == [("a.jpg", {1: "cat"}), ("b.jpg", {})]
    assert any(note.endswith(": c, d") for note in notes)


@pytest.mark.parametrize("name", ["x.jfif", "x.psd", "x.jxl", "x.pnm", "x.raw", "x.nii.gz", "x.gif"])
def test_pictures_that_are_not_read_are_named_everywhere(tmp_path, name, capsys):
    draw(tmp_path / "a.jpg")
    (tmp_path / name).write_bytes(b"")
    assert any(name in note for note in read_table(tmp_path).notes)
    find_images([tmp_path])
    assert "left out of the photos" in capsys.readouterr().err


def test_an_annotation_file_of_which_nothing_is_left_is_named(tmp_path):
    draw(tmp_path / "a.jpg")
    labelme(tmp_path / "a.json", "a.jpg", "cat")
    labelme(tmp_path / "gone.json", "gone.jpg", "cat", kind="line")
    notes = read_table(tmp_path).notes
    assert any("gone.json" in note and "line" in note for note in notes)
    assert any("gone.json is left out" in note for note in notes)


def test_links_to_folders_are_followed_once(tmp_path):
    draw(tmp_path / "root/z/a.jpg", tmp_path / "away/b.jpg")
    for link, target in (("root/a", "root/z"), ("root/m", "away"), ("away/loop", "away"), ("root/z/up", "root")):
        (tmp_path / link).symlink_to(tmp_path / target)
    expected = ["m/b", "z/a"]
    assert [image.name for image in read_table(tmp_path / "root").images] == expected
    assert [image.name for image in find_images([tmp_path / "root"])] == [f"{name}.jpg" for name in expected]


def test_folders_that_cannot_be_read_are_refused(tmp_path, monkeypatch):
    draw(tmp_path / "a.jpg", tmp_path / "shut/b.jpg")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="shut cannot be read"):
        read_table(tmp_path)


def test_a_photo_named_from_the_root_of_the_disk_is_one_photo(tmp_path, monkeypatch):
    draw(tmp_path / "data/sub/a.jpg", tmp_path / "data/sub/b.jpg")
    labelme(tmp_path / "data/a.json", str(tmp_path / "data/sub/a.jpg"), "cat")
    monkeypatch.chdir(tmp_path)
    images = read_table(Path("data")).images
    assert [(image.name, image.labels is None) for image in images] == [("sub/a", False), ("sub/b", True)]


def test_categories_of_two_coco_files_are_numbered_and_named_together(tmp_path):
    draw(tmp_path / "train/a.jpg", tmp_path / "val/a.jpg")
    coco(tmp_path / "train.json", "a.jpg", 5)
    coco(tmp_path / "val.json", "a.jpg", 4)
    table = read_table(tmp_path)
    assert table.class_names == ("cat", "dog")
    (note,) = table.notes
    assert note.endswith("are no classes: ant")
    assert read_table(tmp_path / "train.json", photos=tmp_path / "train").notes[0].endswith(": ant, cat")


@pytest.mark.parametrize("more", [{"caption": "a cat"}, {"keypoints": []}, {"segments_info": []}])
def test_coco_files_of_other_forms_beside_instances_are_named(tmp_path, more):
    draw(tmp_path / "a.jpg")
    coco(tmp_path / "annotations/instances.json", "a.jpg", 4)
    coco(tmp_path / "annotations/another.json", "a.jpg", 5, **more)
    table = read_table(tmp_path)
    assert table.class_names == ("cat",) and len(table.images) == 1
    assert any("another.json" in note for note in table.notes)
