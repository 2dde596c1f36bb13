"""`fsbench data prepare` and `check` of the data sets of the in-context protocol."""

import gzip
import pickle
import shutil
from itertools import islice
from pathlib import Path

import pytest

from fsbench.cli.main import main
from fsbench.datamodules.datasets.isaid import Isaid
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.pascal_part import PascalPart
from fsbench.protocols.draws.incontext import OwnEpisodes
from tests.datamodules.datasets.test_isaid import PATCHES, save_patches
from tests.datamodules.datasets.test_object_annotations import annotation, lvis, paco, pascal_part
from tests.datamodules.prepare.archives import packed, prepare, times
from tests.goldens.kinds.incontext import ISAID_LISTS


def test_lvis_asks_for_the_authors_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = lvis(tmp_path / "theirs")
    archives = tmp_path / "archives"
    packed(data.root / "coco", archives / "val2017.zip")
    arguments = ("lvis", "--root", tmp_path / "lvis", "--from", archives, "--validation-only")
    assert prepare(*arguments) == 2
    assert "no lvis_val.pkl" in capsys.readouterr().err
    (archives / "lvis_val.pkl").write_bytes((data.root / "lvis_val.pkl").read_bytes())
    assert prepare(*arguments) == 2
    assert "expected 442b8da7639aecaf257c1dceb8ba8c80" in capsys.readouterr().err
    assert prepare(*arguments, "--allow-unverified") == 0
    assert Lvis(str(tmp_path / "lvis")).annotations_sha256 == data.annotations_sha256


FORMS = {"lvis": lvis, "paco_part": lambda root: paco(root, {n: [annotation([0, 0, 8, 6])] for n in (1, 2, 3)})}


def in_both_folders(path: Path, names: set[str]) -> None:
    """Let the pickle `path` name the photos `names` of val2017 as photos of train2017."""

    def moved(value: object) -> object:
        if isinstance(value, str):
            return value.replace("val2017", "train2017") if any(name in value for name in names) else value
        if isinstance(value, dict):
            return {moved(key): moved(entry) for key, entry in value.items()}
        return [moved(entry) for entry in value] if isinstance(value, list) else value

    path.write_bytes(pickle.dumps(moved(pickle.loads(path.read_bytes()))))


@pytest.mark.parametrize("name", FORMS)
def test_validation_takes_the_named_photos_of_both_folders(name, tmp_path, capsys):
    """Photos of the training folder that the list of the test names come out of their archive; the others stay in."""
    data = FORMS[name](tmp_path / "theirs")
    photos = sorted((data.root / "coco/val2017").iterdir())
    in_both_folders(data.annotation_files[-1], {photos[0].name, photos[1].name})
    train = data.root / "coco/train2017"
    train.mkdir()
    for photo in photos[:2]:
        photo.rename(train / photo.name)
    for folder in (train, data.root / "coco/val2017"):
        shutil.copyfile(train / photos[0].name, folder / "unnamed.jpg")
    archives = tmp_path / "archives"
    for folder in ("train2017", "val2017"):
        packed(data.root / "coco", archives / f"{folder}.zip")
    for file in data.annotation_files:
        target = tmp_path / "ours" / file.relative_to(data.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    arguments = [name, "--root", tmp_path / "ours", "--allow-unverified"]

    assert prepare(*arguments, "--from", archives, "--validation-only") == 0
    assert "coco/train2017: 2 photos are named" in capsys.readouterr().out
    ours = tmp_path / "ours/coco"
    unpacked = [f"train2017/{photos[0].name}", f"train2017/{photos[1].name}", f"val2017/{photos[2].name}"]
    assert [str(path.relative_to(ours)) for path in sorted(ours.rglob("*.jpg"))] == unpacked
    prepared = type(data)(str(tmp_path / "ours"))
    assert prepared.listed_photos() == {*unpacked}
    for episode in islice(OwnEpisodes.find(prepared).run(0, 1, 0).episodes, 5):
        assert all(prepared.label_map(view).any() for view in (episode.query, *episode.supports[0]))

    before = times(ours)
    assert prepare(*arguments, "--from", tmp_path, "--validation-only") == 0  # nothing is wanting, no archive is needed
    assert times(ours) == before
    (ours / unpacked[0]).unlink()
    assert prepare(*arguments, "--from", archives, "--validation-only") == 0
    assert (ours / unpacked[0]).is_file() and not (ours / "train2017/unnamed.jpg").exists()
    assert prepare(*arguments, "--from", archives) == 0  # a selection is no whole folder
    assert all((ours / folder / "unnamed.jpg").is_file() for folder in ("train2017", "val2017"))
    before = times(ours)
    assert prepare(*arguments, "--from", tmp_path) == 0
    assert times(ours) == before


def test_an_archive_without_a_named_photo_and_a_list_of_other_folders_are_refused(tmp_path, capsys):
    data = lvis(tmp_path / "lvis")
    photos = sorted((data.root / "coco/val2017").iterdir())
    photos[1].rename(tmp_path / "elsewhere.jpg")
    packed(data.root / "coco", tmp_path / "archives/val2017.zip")
    photos[0].unlink()
    given = ("--from", tmp_path / "archives", "--allow-unverified", "--validation-only")
    assert prepare("lvis", "--root", data.root, *given) == 2
    message = "lacks photos that lvis_val.pkl names; expected COCO's photos"
    assert message in capsys.readouterr().err
    list_file = data.root / "lvis_val.pkl"
    list_file.write_bytes(list_file.read_bytes().replace(b"val2017/", b"new2017/"))
    assert prepare("lvis", "--root", data.root, *given) == 2
    message = "lvis_val.pkl names photos of the folder 'new2017'; expected val2017 and train2017"
    assert message in capsys.readouterr().err


def test_pascal_part_unpacks_the_photos_beside_its_annotations(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = pascal_part(tmp_path / "parts")
    photos = tmp_path / "src/VOCdevkit/VOC2010"
    photos.mkdir(parents=True)
    (data.root / "JPEGImages").rename(photos / "JPEGImages")
    packed(tmp_path / "src", tmp_path / "archives/VOCtrainval_03-May-2010.tar")
    assert prepare("pascal_part", "--root", tmp_path / "parts", "--from", tmp_path / "archives") == 0
    assert "no checksum is published" in capsys.readouterr().out
    assert PascalPart(str(tmp_path / "parts")).label_map("a@0@head").shape == (4, 4)


def test_isaid_takes_the_authors_lists(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "splits/isaid/val"
    folder.mkdir(parents=True)
    lines = [line.split() for line in gzip.decompress(ISAID_LISTS.read_bytes()).decode().splitlines()]
    for fold in range(3):
        (folder / f"fold{fold}.txt").write_text("".join(f"{pair}\n" for own, pair in lines if int(own) == fold))
    root = save_patches(tmp_path / "isaid", PATCHES)
    assert prepare("isaid", "--root", root, "--lists", tmp_path / "splits") == 0
    capsys.readouterr()
    assert Isaid(str(root)).lists == [str(root / "lists")]
    assert main(["data", "check", "isaid", "--root", str(root)]) == 1  # it has few of the listed patches
    printed = capsys.readouterr().out
    assert "5 are whole and of the right size" in printed and "the official list has 3108 and 3010" in printed
