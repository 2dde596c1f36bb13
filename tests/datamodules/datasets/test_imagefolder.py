"""A folder of class folders: its classes and images, lists of them as authors write them, one line for bad ones."""

import json
import os
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.data.image_io import image_pixels
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from tests.datamodules.datasets.labelled_images import save
from tests.turned import save_turned


def test_image_folder_of_many_formats(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a/x.tif", "c/x.bmp", "c/y.webp", "c/z.GIF"):
        save(tmp_path / name)
    (tmp_path / "b/3.HEIC").touch()
    (tmp_path / "loose.jpg").touch()
    (tmp_path / ".cache").mkdir()
    data = ImageFolder(str(tmp_path))
    assert (data.class_names, data.origin) == (("a", "b", "c"), "derived")
    assert data.images == (("a/x.tif",), ("b/1.JPG", "b/2.png", "b/3.HEIC"), ("c/x.bmp",))
    assert data.notes == ["2 files of forms that are not read are left out: c/y.webp, c/z.GIF; save them as PNG"]
    few = ImageFolder(str(tmp_path), classes=["c", "b"], max_images=1)
    assert few.images == (("b/1.JPG",), ("c/x.bmp",))
    assert few.sha256 != data.sha256
    with pytest.raises(DataError, match="has no class folder z"):
        ImageFolder(str(tmp_path), classes=["z"])


def test_masks_beside_photos_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """With one note, in `data check` and in a run; a PNG of another name is a photo."""
    root = tmp_path / "photos"
    photos = ("0.jpg", "1.JPG", "2.png", *(f"{number}.jpg" for number in range(30, 50)))
    for folder in ("cat", "dog"):
        for name in (*photos, "0.png", "1.PNG"):
            save(root / folder / name)
    expected = tuple(tuple(f"{folder}/{name}" for name in photos) for folder in ("cat", "dog"))
    assert ImageFolder(str(root)).images == expected
    assert main(["data", "check", "imagefolder", "--root", str(root)]) == 0
    checked = capsys.readouterr()
    fsbench.load_test("imagefolder", root=root, way=2, shot=1, episodes=2)
    noted = "4 masks are left out, as photos beside them have their names: cat/0.png, cat/1.PNG, dog/0.png, dog/1.PNG"
    assert [text.count(noted) for text in (checked.out, checked.err, capsys.readouterr().err)] == [1, 0, 1]


def test_class_folders_without_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    with pytest.raises(DataError, match=r"(?s)does not exist; expected a folder for each class.*<class>/<image>"):
        ImageFolder(str(root))
    save(root / "a/1.jpg")
    (root / "b/deeper").mkdir(parents=True)
    with pytest.raises(DataError, match=r"1 of 2 class folders in .* have no images \(first: b\); expected \.jpg"):
        ImageFolder(str(root))


@pytest.mark.parametrize("orientation", [1, 6])
def test_images_are_turned_as_people_see_them(tmp_path: Path, capsys: pytest.CaptureFixture, orientation: int) -> None:
    seen = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)
    root = tmp_path / "photos"
    (root / "cat").mkdir(parents=True)
    save_turned(root / "cat/1.png", seen, orientation)
    np.testing.assert_array_equal(image_pixels(ImageFolder(str(root)), "cat/1.png"), seen)
    assert main(["data", "check", "imagefolder", "--root", str(root)]) == 0
    assert ("1 are turned by their EXIF entry, as people see them: cat/1.png" in capsys.readouterr().out) == (
        orientation > 1
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (os.fsdecode(b"a/caf\xe9.jpg"), r"a has the name b'caf\\xe9\.jpg', which is not UTF-8; .* rename it"),
        ("A/1.jpg", "has the class folders A and a, whose names differ by case, spaces or"),
    ],
)
def test_names_that_cannot_be_told_are_refused(tmp_path: Path, name: str, message: str) -> None:
    for one in ("a/1.jpg", name):
        (tmp_path / one).parent.mkdir(exist_ok=True)
        (tmp_path / one).touch()
    with pytest.raises(DataError, match=message):
        ImageFolder(str(tmp_path))


def as_authors_write(data: ImageFolder, folder: str) -> dict[str, list]:
    """Three arrays with absolute paths, shuffled within a class."""
    content: dict[str, list] = {"label_names": list(data.class_names), "image_names": [], "image_labels": []}
    for number, names in enumerate(data.images):
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


GOOD = {"label_names": ["a", "b"], "image_names": ["a/1.jpg", "b/2.jpg"], "image_labels": [0, 1]}
BAD_LISTS = [
    ({"image_labels": [0]}, "has 2 images and 1 labels"),
    ({"image_labels": [0, -1]}, "has the label -1 and 2 label names"),
    ({"image_labels": [0, 7], "label_names": ["a"]}, "has the label 7 and 1 label names"),
    ({"image_labels": ["0", "1"]}, "holds other things than names and numbers"),
    ({"image_names": ["a/1.jpg", "a/9.jpg"]}, r"1 of 2 images of .* are not in .* \(first: a/9\.jpg\)"),
    ({"image_names": ["a/1.jpg", "../out.jpg"]}, r"1 of 2 images .*\(first: \.\./out\.jpg\)"),
    ({"label_names": None}, "holds other things"),
    *((content, r"list file .*all\.json (is of another form|cannot be read).*expected a JSON")
      for content in (None, b"", b"[1, 2]", b"{}", b"\xff\xfe")),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD_LISTS)
def test_bad_lists_are_one_clear_line(tmp_path: Path, content: dict | bytes | None, message: str) -> None:
    """A change of a good one, or all of the file; one is absent."""
    for name in ("data/a/1.jpg", "data/b/2.jpg", "out.jpg"):
        save(tmp_path / name)
    file = tmp_path / "all.json"
    if content is not None:
        file.write_bytes(json.dumps(GOOD | content).encode() if isinstance(content, dict) else content)
    with pytest.raises(DataError, match=message) as error:
        ImageFolder(str(tmp_path / "data"), lists=str(file))
    assert "\n" not in str(error.value)


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
