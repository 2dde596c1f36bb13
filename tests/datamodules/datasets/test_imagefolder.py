"""A folder of class folders: its classes and images, and one clear line for bad ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.data.orientation import image_pixels
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from tests.datamodules.datasets.labelled_images import save
from tests.turned import save_turned


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


def test_class_folders_without_images_are_named(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    with pytest.raises(
        DataError, match=r"(?s)does not exist; expected the imagefolder folder with .*<root>/<class>/<image>"
    ):
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


@pytest.mark.parametrize("orientation", range(1, 9))
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


def test_class_folders_that_look_alike_are_refused(tmp_path: Path) -> None:
    for name in ("Cat/1.png", "cat/1.png"):
        save(tmp_path / name)
    with pytest.raises(DataError, match="has the class folders Cat and cat, whose names differ by case, spaces or"):
        ImageFolder(str(tmp_path))
