"""Data sets of labelled photos: lists against plain rules, list files, bad input."""

import hashlib
import importlib
import json
import os
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import yaml
from PIL import Image

from datamodules.datasets import class_folders
from datamodules.datasets.demo import DemoImages
from datamodules.datasets.fine_grained import IMAGE_DATASETS, Aircraft, Cars, Cub, Pets, Places, Plantae
from datamodules.datasets.image_folder import ImageFolder
from datamodules.demo import classification
from datamodules.demo.classes import object_class
from fsbench.cli.inputs import data as data_commands
from fsbench.cli.main import main
from fsbench.data.image_io import read_pixels
from fsbench.episodes.classification import classification_episodes
from fsbench.errors import DataError
from fsbench.paths import CONFIGS


def save(path: Path) -> None:
    """An image of a few bytes, another one for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = int(hashlib.sha256(path.name.encode()).hexdigest()[:2], 16)
    Image.new("RGB", (3, 2), (shade, 9, 200)).save(path)


def save_cub(root: Path) -> None:
    for name in (
        "002.Laysan_Albatross/b_2.jpg",
        "001.Black_footed_Albatross/z.jpg",
        "001.Black_footed_Albatross/B.jpg",
    ):
        save(root / "images" / name)
    (root / "images/001.Black_footed_Albatross/.hidden.jpg").touch()
    (root / "images/001.Black_footed_Albatross/notes.txt").touch()


def save_cars(root: Path) -> None:
    labels = {"00001.jpg": 2, "00002.jpg": 1, "00003.jpg": 2}
    for name in labels:
        save(root / "cars_train" / name)
    kinds = [(field, "O") for field in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    rows = [[(1, 2, 3, 4, number, name) for name, number in labels.items()]]
    (root / "devkit").mkdir()
    scipy.io.savemat(root / "devkit/cars_train_annos.mat", {"annotations": np.array(rows, dtype=kinds)})
    names = np.array(["Zenos E10 2014", "AM General Hummer SUV 2000"], dtype=object)[None]
    scipy.io.savemat(root / "devkit/cars_meta.mat", {"class_names": names})


def save_aircraft(root: Path) -> None:
    (root / "data/images").mkdir(parents=True)
    lines = ["0034309 Boeing 707", "0000002 A300", "0000001 Boeing 707"]
    (root / "data/images_family_trainval.txt").write_text("".join(f"{line}\n" for line in lines))
    for line in [*lines, "0000009 of the test part"]:
        save(root / f"data/images/{line.split()[0]}.jpg")


def save_pets(root: Path) -> None:
    (root / "annotations").mkdir(parents=True)
    lines = ["#Image CLASS-ID SPECIES BREED ID", "Bengal_7 10 1 2", "great_pyrenees_12 2 2 1", "Bengal_10 10 1 2"]
    (root / "annotations/list.txt").write_text("\n".join(lines))
    for line in [*lines[1:], "Bengal_99"]:
        save(root / f"images/{line.split()[0]}.jpg")


def save_plantae(root: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        for i in range(size):
            save(root / f"Plantae/{name}/{i:03d}.jpg")
    (root / "categories.json").write_text(json.dumps([{"id": int(n), "name": f"Planta No {n}"} for n in sizes]))


def test_cub(tmp_path: Path) -> None:
    save_cub(tmp_path / "CUB_200_2011")
    index = Cub(str(tmp_path))
    first = "001.Black_footed_Albatross"
    assert index.class_names == ("black footed albatross", "laysan albatross")
    assert index.images == ((f"{first}/B.jpg", f"{first}/z.jpg"), ("002.Laysan_Albatross/b_2.jpg",))
    assert index.image_path(f"{first}/z.jpg") == tmp_path / f"CUB_200_2011/images/{first}/z.jpg"
    assert index.origin == "derived, incomplete"
    text = json.dumps([list(index.class_names), [list(names) for names in index.images]]).replace(", ", ",")
    assert index.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_complete_list_is_called_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_cub(tmp_path)
    monkeypatch.setattr(Cub, "official", (2, 3))
    assert Cub(str(tmp_path)).origin == "derived"


def test_cars_are_in_the_order_of_the_meta_file(tmp_path: Path) -> None:
    save_cars(tmp_path)
    index = Cars(str(tmp_path))
    assert index.class_names == ("zenos e10 2014", "am general hummer suv 2000")
    assert index.images == (("00002.jpg",), ("00001.jpg", "00003.jpg"))
    (tmp_path / "cars_train/00003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images of .*annos\.mat are not in .*cars_train \(first: 00003\.jpg\)"):
        Cars(str(tmp_path))
    (tmp_path / "devkit/cars_meta.mat").write_bytes(b"no mat")
    with pytest.raises(DataError, match=r"cars_meta\.mat cannot be read"):
        Cars(str(tmp_path))


def test_places_takes_the_first_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Places.most == 200
    monkeypatch.setattr(Places, "most", 2)
    for name in ("00000010.jpg", "00000002.jpg", "00000001.jpg"):
        save(tmp_path / "places365_standard/train/beer_hall" / name)
    save(tmp_path / "places365_standard/val/beer_hall/x.jpg")
    index = Places(str(tmp_path))
    assert index.class_names == ("beer hall",)
    assert index.images == (("beer_hall/00000001.jpg", "beer_hall/00000002.jpg"),)


def test_plantae_takes_the_largest_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Plantae.largest, Plantae.most) == (200, 600)
    monkeypatch.setattr(Plantae, "largest", 3)
    monkeypatch.setattr(Plantae, "most", 4)
    sizes = {"6010": 5, "5800": 2, "5900": 2, "700": 3, "701": 1}
    save_plantae(tmp_path, sizes)
    index = Plantae(str(tmp_path))
    ascending = sorted(sizes, key=lambda name: (sizes[name], name))
    assert ascending[-3:] == ["5900", "700", "6010"]  # of the two folders with two, the last
    assert index.class_names == ("planta no 5900", "planta no 6010", "planta no 700")
    assert index.images[1] == tuple(f"6010/{i:03d}.jpg" for i in range(4))
    assert [len(images) for images in index.images] == [2, 4, 3]
    (tmp_path / "categories.json").write_text("[]")
    with pytest.raises(DataError, match="has no category 5900"):
        Plantae(str(tmp_path))


def test_aircraft_and_pets_follow_their_lists(tmp_path: Path) -> None:
    save_aircraft(tmp_path / "a/fgvc-aircraft-2013b")
    aircraft = Aircraft(str(tmp_path / "a"))
    assert aircraft.class_names == ("a300", "boeing 707")
    assert aircraft.images == (("0000002.jpg",), ("0000001.jpg", "0034309.jpg"))
    save_pets(tmp_path / "p")
    pets = Pets(str(tmp_path / "p"))
    assert pets.class_names == ("great pyrenees", "bengal")  # 2 before 10
    assert pets.images == (("great_pyrenees_12.jpg",), ("Bengal_10.jpg", "Bengal_7.jpg"))
    for content, message in (
        (b"Bengal_7 ten 1 2\n", "class that is no number"),
        (b"Bengal_7 10\n", "line of another form; expected <image> <class> <species> <breed> in each"),
        (b"", "line of another form"),
        (b"\xff\xfe", "cannot be read"),
    ):
        (tmp_path / "p/annotations/list.txt").write_bytes(content)
        with pytest.raises(DataError, match=message):
            Pets(str(tmp_path / "p"))


def test_image_folder_of_many_formats(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a/x.webp", "c/x.bmp"):
        save(tmp_path / name)
    (tmp_path / "loose.jpg").touch()
    (tmp_path / ".cache").mkdir()
    index = ImageFolder(str(tmp_path))
    assert (index.class_names, index.origin) == (("a", "b", "c"), "derived")
    assert index.images == (("a/x.webp",), ("b/1.JPG", "b/2.png"), ("c/x.bmp",))
    few = ImageFolder(str(tmp_path), classes=["c", "b"], max_images=1)
    assert few.images == (("b/1.JPG",), ("c/x.bmp",))
    assert few.sha256 != index.sha256
    with pytest.raises(DataError, match="has no class folder z"):
        ImageFolder(str(tmp_path), classes=["z"])


def test_a_list_is_kept_until_a_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_cub(tmp_path)
    first = Cub(str(tmp_path))
    real, asked = class_folders._entries, []
    monkeypatch.setattr(class_folders, "_entries", lambda folder: asked.append(folder) or real(folder))
    assert Cub(str(tmp_path)).images == first.images
    assert asked == [tmp_path / "images"]
    save(tmp_path / "images/002.Laysan_Albatross/new.jpg")
    assert Cub(str(tmp_path)).images[1] == ("002.Laysan_Albatross/b_2.jpg", "002.Laysan_Albatross/new.jpg")


@pytest.mark.parametrize("name", [*IMAGE_DATASETS, "demo-cls"])
def test_configuration_names_the_data_set(name: str) -> None:
    data = yaml.safe_load((CONFIGS / f"data/{name}.yaml").read_text())["data"]
    assert data["class_path"] == "datamodules.classification.ClassificationDataModule"
    dataset = data["init_args"]["dataset"]
    module, _, kind = dataset["class_path"].rpartition(".")
    assert getattr(importlib.import_module(module), kind) is (IMAGE_DATASETS | {"demo-cls": DemoImages})[name]
    assert dataset["init_args"] == {"root": f"data/{name}"}


def test_names_on_the_command_line() -> None:
    assert (*data_commands.FETCHED, "imagefolder") == tuple(IMAGE_DATASETS)
    assert all(kind.name == name for name, kind in IMAGE_DATASETS.items())


@pytest.mark.parametrize("name", IMAGE_DATASETS)
def test_missing_folder_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        IMAGE_DATASETS[name](str(tmp_path / "none"))
    first, *guide = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path / 'none'} does not exist; expected the {name} folder with ")
    if name == "imagefolder":
        assert "<root>/<class>/<image>" in "\n".join(guide)
    else:
        assert f"fsbench data prepare {name} --root <root>" in "\n".join(guide)
        (tmp_path / "none").mkdir()
        with pytest.raises(DataError, match=f"none has no .*; expected the {name} folder"):
            IMAGE_DATASETS[name](str(tmp_path / "none"))


def test_class_folders_without_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    with pytest.raises(DataError, match="has no class folders"):
        ImageFolder(str(root))
    save(root / "a/1.jpg")
    (root / "b/deeper").mkdir(parents=True)
    with pytest.raises(DataError, match=r"1 of 2 class folders in .* have no images \(first: b\); expected \.jpg"):
        ImageFolder(str(root))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a/1.jpg")
    (tmp_path / "a" / os.fsdecode(b"caf\xe9.jpg")).touch()
    with pytest.raises(DataError, match=r"a has the name b'caf\\xe9\.jpg', which is not UTF-8; .* rename it"):
        ImageFolder(str(tmp_path))


def as_authors_write(index: ImageFolder, folder: str) -> dict[str, list]:
    """Three arrays with absolute paths, shuffled within a class."""
    content: dict[str, list] = {"label_names": list(index.class_names), "image_names": [], "image_labels": []}
    for number, names in enumerate(index.images):
        content["image_names"] += random.Random(number).sample([f"{folder}/{name}" for name in names], len(names))
        content["image_labels"] += [number] * len(names)
    return content


def test_list_of_the_authors_takes_the_place_of_the_derived(tmp_path: Path) -> None:
    for number in range(3):
        for i in range(6):
            save(tmp_path / f"data/class_{number}/{i}.jpg")
    derived = ImageFolder(str(tmp_path / "data"))
    content = as_authors_write(derived, "/home/someone/images")
    del content["image_names"][-1], content["image_labels"][-1]  # a smaller list than what is there
    file = tmp_path / "all.json"
    file.write_text(json.dumps(content))
    given = ImageFolder(str(tmp_path / "data"), lists=[str(file)])
    expected = defaultdict(list)
    for name, label in zip(content["image_names"], content["image_labels"], strict=True):
        expected[label].append(name.removeprefix("/home/someone/images/"))
    assert given.images == tuple(tuple(expected[label]) for label in range(3))
    assert (given.class_names, given.origin) == (derived.class_names, "given")
    assert given.sha256 != derived.sha256
    # labels from 1, as those of pets are
    file.write_text(json.dumps(content | {"image_labels": [label + 1 for label in content["image_labels"]]}))
    assert ImageFolder(str(tmp_path / "data"), lists=str(file)).images == given.images


def test_written_list_is_read_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for i in range(4):
        save(tmp_path / f"data/class_{i % 2}/{i}.jpg")
    file = tmp_path / "all.json"
    assert main(["data", "lists", "imagefolder", "--root", str(tmp_path / "data"), "--out", str(file)]) == 0
    derived = ImageFolder(str(tmp_path / "data"))
    assert f"2 classes, 4 images, derived, sha256 {derived.sha256}" in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["label_names"] == ["class_0", "class_1"]
    assert content["image_names"] == ["class_0/0.jpg", "class_0/2.jpg", "class_1/1.jpg", "class_1/3.jpg"]
    assert content["image_labels"] == [0, 0, 1, 1]
    given = ImageFolder(str(tmp_path / "data"), lists=str(file))
    assert (given.sha256, given.images) == (derived.sha256, derived.images)
    file.write_text(json.dumps(content | {"image_labels": [0, 1, 0, 1]}))
    with pytest.raises(DataError, match="was altered"):
        ImageFolder(str(tmp_path / "data"), lists=str(file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_labels": [0]}, "has 2 images and 1 labels"),
        ({"image_labels": [0, -1]}, "has the label -1 and 2 label names"),
        ({"image_labels": [0, 7], "label_names": ["a"]}, "has the label 7 and 1 label names"),
        ({"image_labels": ["0", "1"]}, "holds other things than names and numbers"),
        ({"image_names": ["a/1.jpg", "a/9.jpg"]}, r"1 of 2 images of .* are not in .* \(first: a/9\.jpg\)"),
        ({"image_names": ["a/1.jpg", "../out.jpg"]}, r"1 of 2 images .*\(first: \.\./out\.jpg\)"),
        ({"label_names": None}, "holds other things"),
    ],
)
def test_bad_lists_are_one_clear_line(tmp_path: Path, change: dict, message: str) -> None:
    save(tmp_path / "data/a/1.jpg")
    save(tmp_path / "data/b/2.jpg")
    save(tmp_path / "out.jpg")
    good = {"label_names": ["a", "b"], "image_names": ["a/1.jpg", "b/2.jpg"], "image_labels": [0, 1]}
    file = tmp_path / "all.json"
    file.write_text(json.dumps(good | change))
    with pytest.raises(DataError, match=message) as error:
        ImageFolder(str(tmp_path / "data"), lists=str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"{}", b"\xff\xfe"])
def test_list_files_of_another_form(tmp_path: Path, content: bytes | None) -> None:
    save(tmp_path / "data/a/1.jpg")
    if content is not None:
        (tmp_path / "all.json").write_bytes(content)
    with pytest.raises(DataError, match=r"list file .*all\.json (is of another form|cannot be read).*expected a JSON"):
        ImageFolder(str(tmp_path / "data"), lists=str(tmp_path / "all.json"))


def test_episodes_name_a_class_that_is_too_small(tmp_path: Path) -> None:
    save_cub(tmp_path)
    index = Cub(str(tmp_path))
    with pytest.raises(DataError, match=r"\(class 'laysan albatross' has 1\), expected 1 for support and 1 queries"):
        classification_episodes([len(images) for images in index.images], 2, 1, 1, names=index.class_names)


def test_check_counts_and_names_damaged_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_cub(tmp_path)
    assert main(["data", "check", "cub", "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "2 classes; the official data have 200" in printed and "3 images, 1 to 2 a class" in printed
    damaged = tmp_path / "images/002.Laysan_Albatross/b_2.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert main(["data", "check", "cub", "--root", str(tmp_path)]) == 1
    assert f"{damaged}" in (printed := capsys.readouterr().out) and "not usable as it is" in printed
    with pytest.raises(DataError, match=r"b_2\.jpg cannot be decoded"):
        read_pixels(damaged)


def test_colours_are_those_of_pil_and_orientation_entries_are_left_alone(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (12, 20, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(pixels).quantize(7).save(tmp_path / "palette.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.jpg")
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_pixels(path), np.asarray(image.convert("RGB")))
    assert read_pixels(tmp_path / "turned.jpg").shape == (12, 20, 3)


def digest(root: Path) -> str:
    pixels = (np.asarray(Image.open(path)).tobytes() for path in sorted(root.rglob("*.jpg")))
    return hashlib.sha256(b"".join(pixels)).hexdigest()


def test_demo_photos_are_drawn_once_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_generate, real_current = classification.generate, classification.is_current
    monkeypatch.setattr(classification, "generate", lambda root, seed: real_generate(root, seed, 2))
    monkeypatch.setattr(classification, "is_current", lambda root, seed: real_current(root, seed, 2))
    index = DemoImages(str(tmp_path / "one"))
    assert sorted(index.class_names) == sorted(object_class(number).name for number in range(1, 21))
    assert [len(images) for images in index.images] == [2] * 20
    drawn = (tmp_path / "one" / classification.DESCRIPTION).stat().st_mtime_ns
    DemoImages(str(tmp_path / "one"))
    assert (tmp_path / "one" / classification.DESCRIPTION).stat().st_mtime_ns == drawn
    DemoImages(str(tmp_path / "two"))
    DemoImages(str(tmp_path / "three"), seed=1)
    assert digest(tmp_path / "two") == digest(tmp_path / "one") != digest(tmp_path / "three")
    save(tmp_path / "mine/a/1.jpg")
    with pytest.raises(DataError, match="holds files that are not the demo's"):
        DemoImages(str(tmp_path / "mine"))


def test_a_list_with_one_file_twice_is_refused(tmp_path: Path) -> None:
    """By its name, by two names of one place, through a link, in one class or in two."""
    for name in ("a/1.jpg", "b/2.jpg"):
        save(tmp_path / "photos" / name)
    (tmp_path / "photos/b/link.jpg").symlink_to(tmp_path / "photos/a/1.jpg")
    for second in ("a/1.jpg", "/elsewhere/a/1.jpg", "b/link.jpg"):
        for labels in ([0, 0, 1], [0, 1, 1]):
            content = {"label_names": ["a", "b"], "image_names": ["a/1.jpg", second, "b/2.jpg"], "image_labels": labels}
            (tmp_path / "list.json").write_text(json.dumps(content))
            with pytest.raises(DataError, match=rf"has the image {second} twice"):
                ImageFolder(str(tmp_path / "photos"), str(tmp_path / "list.json"))
