"""The same labelled photos in every form that is read: one data set, whatever form they lie in."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import fsbench
from fsbench.base.errors import DataError, SettingsError
from fsbench.cli.main import main
from fsbench.data.image_io import image_pixels
from fsbench.datamodules.datasets.folder import Folder, read_description
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.runner.config.merge import setting
from fsbench.runner.config.run_config import RunConfig
from tests.datamodules.builders import blocks
from tests.fsbench.data.labelled.test_plausible import place

COLOURS = np.array([(90, 90, 90), (220, 40, 40), (40, 60, 220)], np.uint8)
NAMES = {1: "berry", 2: "plum"}
BOXES = {
    f"i{number:02d}": ((number % 2 + 1, 4 + number % 5, 6 + number % 7, 12 + number % 4, 14 + number % 3),)
    + ((2 - number % 2, 22, 30, 8, 10),) * (number % 3 == 0)
    for number in range(24)
}
"""{image: its objects as (class, top, left, height, width)}."""
TRAINED = sorted(BOXES)[:12]


def labels_of(name: str) -> np.ndarray:
    return blocks(40, 50, *BOXES[name])


def save_photos(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        noise = np.random.RandomState(int(name[1:])).randint(0, 9, (40, 50, 1))
        Image.fromarray((COLOURS[labels_of(name)] + noise).astype(np.uint8)).save(folder / f"{name}.jpg", quality=95)


def save_masks(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(labels_of(name)).save(folder / f"{name}.png")


def corners(top: int, left: int, height: int, width: int) -> list[list[int]]:
    """Corners of a box as tools write them, through the middle of its outer pixels."""
    right, bottom = left + width - 1, top + height - 1
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def by_masks(root: Path) -> Path:
    """Sister folders, and lists."""
    save_photos(root / "photos", sorted(BOXES))
    save_masks(root / "masks", sorted(BOXES))
    for part, names in parts().items():
        (root / f"{part}.txt").write_text("\n".join(names))
    return root


def parts() -> dict[str, list[str]]:
    return {"train": TRAINED, "val": sorted(set(BOXES) - set(TRAINED))}


def by_labelme(root: Path) -> Path:
    for part, names in parts().items():
        save_photos(root / part, names)
        for name in names:
            shapes = [
                {"label": NAMES[number], "shape_type": "polygon", "points": corners(*box)}
                for number, *box in BOXES[name]
            ]
            content = {
                "shapes": shapes,
                "imagePath": f"{name}.jpg",
                "imageHeight": 40,
                "imageWidth": 50,
                "version": "5",
            }
            (root / part / f"{name}.json").write_text(json.dumps(content | {"imageData": None, "flags": {}}))
    return root


def by_coco(root: Path) -> Path:
    """Two files, one for each part."""
    (root / "annotations").mkdir(parents=True)
    for part, names in parts().items():
        save_photos(root / part, names)
        images = [{"id": n, "file_name": f"{name}.jpg", "height": 40, "width": 50} for n, name in enumerate(names)]
        objects = [(n, number, box) for n, name in enumerate(names) for number, *box in BOXES[name]]
        annotations = [
            {
                "id": place, "image_id": image, "category_id": 7 * number, "iscrowd": 0,
                "area": height * width, "bbox": [left, top, width, height],
                "segmentation": [np.ravel(corners(top, left, height, width)).tolist()],
            }
            for place, (image, number, (top, left, height, width)) in enumerate(objects, start=1)
        ]  # fmt: skip
        categories = [{"id": 7 * number, "name": name} for number, name in NAMES.items()]
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [*categories, {"id": 99, "name": "none"}],
        }
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return root


def by_rows(root: Path, suffix: str = ".csv") -> Path:
    """A table that names photos and label maps, with parts and groups."""
    save_photos(root / "a", sorted(BOXES))
    save_masks(root / "b", sorted(BOXES))
    rows = [
        f"{name},a/{name}.jpg,b/{name}.png,{part},{';'.join(f'{n}={own}' for n, own in NAMES.items())}"
        for part, names in parts().items()
        for name in names
    ]
    (root / f"photos{suffix}").write_text("\n".join(["name,photo,labels,part,classes", *rows]))
    return root / f"photos{suffix}"


def by_description(root: Path) -> Path:
    """A folds.yaml of one fold."""
    by_masks(root)
    (root / "folds.yaml").write_text(
        f"name: fruit\nclasses: {[*NAMES.values()]}\nfolds: [[1, 2]]\nimages: photos\nmasks: masks\ntrain: train.txt\n"
        "val: val.txt\n"
    )
    return root


FORMS = [by_masks, by_labelme, by_coco, by_rows, by_description]


def by_colour(episode: Any) -> np.ndarray:
    """Pixels near the mean colour of the first support of each class, at the size that is asked for."""
    answer = np.zeros(np.asarray(episode.query).shape[:2], np.uint8)
    for way, supports in enumerate(episode.supports, start=1):
        mean = np.asarray(supports[0].image)[np.asarray(supports[0].mask) == 1].mean(0)
        answer[np.abs(np.asarray(episode.query) - mean).max(-1) < 60] = way
    return np.asarray(Image.fromarray(answer).resize((48, 48), Image.Resampling.NEAREST))


def plain(name: str) -> str:
    return name.rpartition("/")[2]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_counts(tmp_path: Path, form: Callable[[Path], Path]) -> None:
    root = form(tmp_path / "fruit")
    data = Folder(str(root))
    assert data.name == "fruit" and (data.folds, data.test_classes(0)) == (1, [1, 2])
    assert [*map(plain, sorted(data.candidates("trn")))] == TRAINED and len(data.candidates("val")) == 12
    for name in data.candidates("val"):
        np.testing.assert_array_equal(data.label_map(name), labels_of(plain(name)))
    protocol = "fixed_supports" if form is by_description else None
    test = fsbench.load_test("folder", root=root, protocol=protocol, shot=2, image_size=48)
    assert test.protocol.name == "fixed_supports" and len(test) == 60
    found = fsbench.evaluate(by_colour, test, name="colour", runs=tmp_path / "runs", progress=False, resume=False)
    counts = found.record.episodes.select("tp", "pred", "gt").sum().row(0)
    expected = _reference(tmp_path)
    assert counts == expected and found.scores["mIoU"] > 80


def _reference(tmp_path: Path) -> tuple[int, ...]:
    """Counts of the folder with a folds.yaml."""
    root = by_description(tmp_path / "reference")
    test = fsbench.load_test("folder", root=root, protocol="fixed_supports", shot=2, image_size=48)
    runs = tmp_path / "reference_runs"
    found = fsbench.evaluate(by_colour, test, name="colour", runs=runs, progress=False, resume=False)
    return tuple(found.record.episodes.select("tp", "pred", "gt").sum().row(0))


@pytest.mark.parametrize("form", FORMS)
def test_data_check_of_every_form(tmp_path: Path, capsys: pytest.CaptureFixture, form: Callable[[Path], Path]) -> None:
    root = form(tmp_path / "fruit")
    assert main(["data", "check", "folder", "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "fruit: 2 classes" in printed and "list val fold 0" in printed and "16 pairs" in printed


def test_one_list_without_parts_and_groups_of_a_table(tmp_path: Path) -> None:
    """Groups keep supports and queries apart; classes are shared by name with masks of one class."""
    file = by_rows(tmp_path / "fruit")
    head, *rows = file.read_text().splitlines()
    grouped = [f"{','.join(row.split(',')[:3])},g{place // 4},{row.split(',')[4]}" for place, row in enumerate(rows)]
    file.write_text("\n".join([head.replace("part", "group"), *grouped]))
    test = fsbench.load_test("folder", root=file, protocol="pfenet", episodes=30)
    group = {f"i{place:02d}": place // 4 for place in range(24)}
    assert all(group[one.query] != group[name] for one in test.manifest.episodes for name in one.supports[0])
    test = fsbench.load_test("folder", root=file)
    supports = {name for one in test.manifest.episodes for way in one.supports for name in way}
    assert {group[one.query] for one in test.manifest.episodes}.isdisjoint(group[name] for name in supports)
    assert test.manifest.header.protocol_entries["one_list"] == 24


@pytest.mark.parametrize(
    ("folder", "name"), [("my photos", "my photos"), ("pascal", "own pascal"), ("a·b", "a b"), ("…", "photos")]
)
def test_the_name_is_the_folders(tmp_path: Path, folder: str, name: str) -> None:
    assert Folder(str(by_masks(tmp_path / folder))).name == name


def test_a_picture_inside_a_labelme_file_is_a_photo(tmp_path: Path) -> None:
    root = by_labelme(tmp_path / "fruit") / "val"
    expected = image_pixels(Folder(str(root)), "i12")
    content = json.loads((root / "i12.json").read_text())
    content["imageData"] = b64encode((root / "i12.jpg").read_bytes()).decode()
    (root / "i12.jpg").unlink()
    (root / "i12.json").write_text(json.dumps(content))
    data = Folder(str(root))
    assert len(data.candidates("val")) == 12
    np.testing.assert_array_equal(image_pixels(data, "i12"), expected)
    np.testing.assert_array_equal(data.label_map("i12"), labels_of("i12"))


def test_images_without_a_part_beside_a_test_are_for_training(tmp_path: Path) -> None:
    file = by_rows(tmp_path / "fruit")
    rows = [line.split(",") for line in file.read_text().splitlines()]
    for row in rows[1:]:
        row[3] = "" if row[0] in TRAINED else "test"
    file.write_text("\n".join(",".join(row) for row in rows))
    data = Folder(str(file))
    assert [*map(plain, data.candidates("trn"))] == TRAINED and len(data.candidates("val")) == 12
    assert any(note.startswith("12 images of no part are taken for training") for note in data.notes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pascal", "is the name of the published data set pascal"),
        ("COCO", "is the name of the published data set coco"),
        ("pascal-5i", "is the name of the published data set PASCAL-5i"),
        ("isaid512_stride", "is the name of the published data set isaid512_stride"),
        ("cub", "is the name of the published data set cub"),
        ("../x", "is a path"),
        ("..", "is a path"),
        ("a · b", "has a ·"),
        ('"a\\u001b[2J"', "has characters that do not print"),
        ("demo", ""),
        ("my shapes", ""),
    ],
)
def test_a_data_set_of_ones_own_has_a_name_of_its_own(tmp_path: Path, name: str, words: str) -> None:
    file = tmp_path / "folds.yaml"
    file.write_text(f"name: {name}\nclasses: [a, b]\nfolds: [[a], [b]]\n")
    if not words:
        assert read_description(file).name == name
        return
    with pytest.raises(DataError) as refused:
        read_description(file)
    assert words in str(refused.value) and "expected a name of its own" in str(refused.value)


def test_painted_masks_have_names_at_every_door(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root, painted = tmp_path / "fruit", np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    save_photos(root, TRAINED)
    for name in TRAINED:
        Image.fromarray(painted[labels_of(name)]).save(root / f"{name}.png")
    data, named = Folder(str(root), classes="red=berry,blue=plum"), ["--classes", "red=berry,blue=plum"]
    assert data.class_names == ("berry", "plum")
    np.testing.assert_array_equal(data.label_map("i03"), labels_of("i03"))
    assert main(["data", "check", "folder", "--root", str(root), *named]) == 0
    run = RunConfig("prototype", "folder", data_root=str(root), extra=("--data.dataset.classes=red=berry,blue=plum",))
    assert setting(run.values, "data.dataset.classes") == "red=berry,blue=plum"
    with pytest.raises(SettingsError, match=r"folds\.yaml names the classes"):
        Folder(str(by_description(tmp_path / "described")), classes="red=berry")
    assert main(["data", "check", "imagefolder", "--root", str(root), *named]) != 0
    assert "--classes is 'red=berry,blue=plum'" in capsys.readouterr().err


def test_geotiffs_of_another_place_are_a_problem_of_the_check(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever image it is, as headers say it."""
    monkeypatch.setattr("fsbench.datamodules.datasets.folder.LOOKED_AT", 2)
    for name in TRAINED:
        image = COLOURS[labels_of(name)] + np.uint8(int(name[1:]))
        for part, pixels in (("photos", image), ("masks", labels_of(name))):
            tags = place(400 if (part, name) == ("masks", "i05") else 0, 5000)
            (tmp_path / "fruit" / part).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "fruit" / part / f"{name}.tif", pixels, extratags=tags)
    assert main(["data", "check", "folder", "--root", str(tmp_path / "fruit")]) == 1
    (problem,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("PROBLEM"))
    assert "i05.tif" in problem


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    save_photos(tmp_path / "fruit", TRAINED)
    with pytest.raises(DataError, match="no labelled image"):
        Folder(str(tmp_path / "fruit"))


def test_a_table_of_classes_is_a_data_set_for_classification(tmp_path: Path) -> None:
    save_photos(tmp_path / "a", sorted(BOXES))
    rows = [f"a/{name}.jpg,{NAMES[BOXES[name][0][0]]},g{name[2]}" for name in BOXES]
    (tmp_path / "photos.csv").write_text("\n".join(["photo,classes,group", *rows]))
    data = ImageFolder(str(tmp_path / "photos.csv"))
    assert data.class_names == ("berry", "plum") and [len(own) for own in data.images] == [12, 12]
    assert data.group_of("a/i12.jpg") == "g2" and data.image_path("a/i12.jpg").is_file()
