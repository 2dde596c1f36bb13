"""`fsbench data prepare` for data sets of labelled photos, on small archives in the publishers' layout."""

import json
from pathlib import Path

import pytest

from fsbench.data.source import Source
from fsbench.datamodules.datasets.fort import Aircraft, Cars, Cub, Pets, Places, Plantae
from tests.datamodules.datasets.labelled_images import save, save_aircraft, save_cars, save_cub, save_pets, save_plantae
from tests.datamodules.prepare.archives import packed, prepare, times

KINDS = {kind.name: kind for kind in (Cub, Cars, Places, Plantae, Aircraft, Pets)}
ARCHIVES = {name: kind.source.archives for name, kind in KINDS.items()}


def save_places(root: Path) -> None:
    for i in (1, 2, 3, 10):
        save(root / f"train/beer_hall/{i:08d}.jpg")
    save(root / "val/beer_hall/1.jpg")


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """All archives, with files that nobody wants among them."""
    source, archives = tmp_path / "source", tmp_path / "archives"
    save_cub(source / "cub/CUB_200_2011")
    save_cars(source / "cars")
    (source / "devkit").mkdir()
    (source / "cars/devkit").rename(source / "devkit/devkit")
    save_aircraft(source / "aircraft/fgvc-aircraft-2013b")
    save_pets(source / "pets")
    (source / "notes").mkdir()
    (source / "pets/annotations").rename(source / "notes/annotations")
    (source / "pets/images/._Bengal_7.jpg").touch()
    (source / "pets/images/Bengal_7.mat").touch()
    save_places(source / "places/places365_standard")
    save_plantae(source / "plantae/train_val2018", {"12": 2, "7": 3})
    save(source / "plantae/train_val2018/Aves/3/bird.jpg")
    (source / "categories").mkdir()
    (source / "plantae/train_val2018/categories.json").rename(source / "categories/categories.json")
    folders = {"devkit": "car_devkit.tgz", "notes": "annotations.tar.gz", "categories": "categories.json.tar.gz"}
    folders |= {name: published[-1].name for name, published in ARCHIVES.items()}
    for folder, name in folders.items():
        packed(source / folder, archives / name)
    return archives


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_become_what_the_data_set_reads(
    name: str, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(Plantae, "largest", 1)
    root = tmp_path / "data"
    arguments = (name, "--root", root, "--from", archives)
    published = [archive.name for archive in ARCHIVES[name] if archive.digest]
    if published:
        assert prepare(*arguments) == 2
        assert f"{published[0]} (" in (error := capsys.readouterr().err) and "it is truncated or altered" in error
    assert prepare(*arguments, "--allow-unverified") == 0
    printed = capsys.readouterr().out
    for archive in ARCHIVES[name]:
        unpublished = f"{archive.name}: no checksum is published; its sha256 is in prepared.json"
        assert (unpublished in printed) == (archive.digest is None)
    data = KINDS[name](str(root))
    shown = {"cub": 3, "cars": 3, "places": 4, "plantae": 3, "aircraft": 3, "pets": 3}
    assert sum(map(len, data.images)) == shown[name]
    assert all(data.image_path(image).is_file() for images in data.images for image in images)
    note = json.loads((root / "prepared.json").read_text())
    assert {key: entry["checksum"][:3] for key, entry in note.items()} == {
        archive.name: "md5" if archive.digest else "sha" for archive in ARCHIVES[name]
    }
    unwanted = ("._Bengal_7.jpg", "Bengal_7.mat", "bird.jpg", "notes.txt")
    assert not any(path.name in unwanted or ".making" in path.name for path in root.rglob("*"))
    before = times(root)
    assert prepare(name, "--root", root) == 0  # complete: needs no archive
    assert times(root) == before


def test_only_the_first_places_are_unpacked(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    (archive,) = ARCHIVES["places"]
    assert archive.most == Places.most == 200
    monkeypatch.setattr(Places, "source", Source(archives=(replace(archive, most=2),)))
    assert prepare("places", "--root", tmp_path / "data", "--from", archives) == 0
    assert {path.name for path in (tmp_path / "data").rglob("*.jpg")} == {"00000001.jpg", "00000002.jpg"}
    packed(tmp_path / "source/places", tmp_path / "places.zip").replace(archives / archive.name)
    assert prepare("places", "--root", tmp_path / "again", "--from", archives) == 0
    assert {path.name for path in (tmp_path / "again").rglob("*.jpg")} == {"00000001.jpg", "00000002.jpg"}


def test_an_archive_of_another_kind_and_lists_that_nobody_released_are_refused(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (archives / "images.tar.gz").replace(archives / "CUB_200_2011.tgz")
    for more, message in (
        (
            ("--from", archives, "--allow-unverified"),
            "CUB_200_2011.tgz has no images/*/*.jpg; expected the",
        ),
        (("--lists", archives), "cub has no released lists"),
    ):
        assert prepare("cub", "--root", tmp_path / "data", *more) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "data/images").exists()
