"""Data sets of labelled images: their lists in the publishers' order, and one clear line for bad input."""

import hashlib
import importlib
import json
from pathlib import Path

import pytest
import yaml

from fsbench.base.errors import DataError
from fsbench.base.paths import CONFIGS
from fsbench.cli.main import main
from fsbench.data.image_io import read_pixels
from fsbench.datamodules.datasets.demo import DemoImages
from fsbench.datamodules.datasets.fort import Aircraft, Cars, Cub, Pets, Places, Plantae
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.datamodules.kinds import class_folders
from fsbench.datamodules.kinds.labelled_images import LabelledImages
from tests.datamodules.datasets.labelled_images import save, save_aircraft, save_cars, save_cub, save_pets, save_plantae

ALBATROSS = "001.Black_footed_Albatross"
LISTS = {
    Cub: (
        lambda root: save_cub(root / "CUB_200_2011"),
        ("black footed albatross", "laysan albatross"),
        ((f"{ALBATROSS}/B.jpg", f"{ALBATROSS}/z.jpg"), ("002.Laysan_Albatross/b_2.jpg",)),
    ),
    Cars: (  # in the order of the meta file
        lambda root: save_cars(root),
        ("zenos e10 2014", "am general hummer suv 2000"),
        (("00002.jpg",), ("00001.jpg", "00003.jpg")),
    ),
    Aircraft: (
        lambda root: save_aircraft(root / "fgvc-aircraft-2013b"),
        ("a300", "boeing 707"),
        (("0000002.jpg",), ("0000001.jpg", "0034309.jpg")),
    ),
    Pets: (  # class 2 before class 10
        lambda root: save_pets(root),
        ("great pyrenees", "bengal"),
        (("great_pyrenees_12.jpg",), ("Bengal_10.jpg", "Bengal_7.jpg")),
    ),
}
"""Data set -> what writes a small one, names of its classes, and images of each."""


@pytest.mark.parametrize("kind", LISTS)
def test_classes_and_images_are_in_the_publishers_order(kind: type[LabelledImages], tmp_path: Path) -> None:
    write, names, images = LISTS[kind]
    write(tmp_path)
    data = kind(str(tmp_path))
    assert (data.class_names, data.images, data.origin) == (names, images, "derived, incomplete")
    assert all(data.image_path(name).is_file() for own in images for name in own)
    text = json.dumps([list(names), [list(own) for own in images]]).replace(", ", ",")
    assert data.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_complete_list_is_called_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_cub(tmp_path)
    monkeypatch.setattr(Cub, "official", (2, 3))
    assert Cub(str(tmp_path)).origin == "derived"


def test_places_takes_the_first_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Places.most == 200
    monkeypatch.setattr(Places, "most", 2)
    for name in ("00000010.jpg", "00000002.jpg", "00000001.jpg"):
        save(tmp_path / "places365_standard/train/beer_hall" / name)
    save(tmp_path / "places365_standard/val/beer_hall/x.jpg")
    data = Places(str(tmp_path))
    assert data.class_names == ("beer hall",)
    assert data.images == (("beer_hall/00000001.jpg", "beer_hall/00000002.jpg"),)


def test_plantae_takes_the_largest_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Plantae.largest, Plantae.most) == (200, 600)
    monkeypatch.setattr(Plantae, "largest", 3)
    monkeypatch.setattr(Plantae, "most", 4)
    sizes = {"6010": 5, "5800": 2, "5900": 2, "700": 3, "701": 1}
    save_plantae(tmp_path, sizes)
    data = Plantae(str(tmp_path))
    ascending = sorted(sizes, key=lambda name: (sizes[name], name))
    assert ascending[-3:] == ["5900", "700", "6010"]  # of the two folders with two, the last
    assert data.class_names == ("planta no 5900", "planta no 6010", "planta no 700")
    assert data.images[1] == tuple(f"6010/{i:03d}.jpg" for i in range(4))
    assert [len(images) for images in data.images] == [2, 4, 3]
    (tmp_path / "categories.json").write_text("[]")
    with pytest.raises(DataError, match="has no category 5900"):
        Plantae(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "file", "content", "message"),
    [
        (Cars, "cars_train/00003.jpg", None, r"1 of 3 images of .*annos\.mat are not in .*cars_train \(first: 00003"),
        (Cars, "devkit/cars_meta.mat", b"no mat", r"cars_meta\.mat cannot be read"),
        (Pets, "annotations/list.txt", b"Bengal_7 ten 1 2\n", "class that is no number"),
        (
            Pets,
            "annotations/list.txt",
            b"Bengal_7 10\n",
            "line of another form; expected <image> <class> <species>",
        ),
        (Pets, "annotations/list.txt", b"", "line of another form"),
        (Pets, "annotations/list.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_wrong_files_are_named(
    kind: type[LabelledImages], file: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    LISTS[kind][0](tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        kind(str(tmp_path))


def test_a_list_is_kept_until_a_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_cub(tmp_path)
    first = Cub(str(tmp_path))
    real, asked = class_folders._entries, []
    monkeypatch.setattr(class_folders, "_entries", lambda folder: asked.append(folder) or real(folder))
    assert Cub(str(tmp_path)).images == first.images
    assert asked == [tmp_path / "images"]
    save(tmp_path / "images/002.Laysan_Albatross/new.jpg")
    assert Cub(str(tmp_path)).images[1] == ("002.Laysan_Albatross/b_2.jpg", "002.Laysan_Albatross/new.jpg")


IMAGE_DATASETS = {kind.name: kind for kind in (Cub, Cars, Places, Plantae, Aircraft, Pets, ImageFolder)}


@pytest.mark.parametrize("name", [*IMAGE_DATASETS, "demo-cls"])
def test_configuration_names_the_data_set(name: str) -> None:
    data = yaml.safe_load((CONFIGS / f"data/{name}.yaml").read_text())["data"]
    assert data["class_path"] == "fsbench.datamodules.classification.ClassificationDataModule"
    dataset = data["init_args"]["dataset"]
    module, _, kind = dataset["class_path"].rpartition(".")
    assert getattr(importlib.import_module(module), kind) is (IMAGE_DATASETS | {"demo-cls": DemoImages})[name]
    assert dataset["init_args"] == {"root": f"data/{name}"}


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
