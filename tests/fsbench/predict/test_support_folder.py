"""Supports of a folder, in each of its forms."""

import io
import itertools
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.predict.support_folder import read_support_folder

SIDES = (20, 30)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def photo(seed: int) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (*SIDES, 3), dtype=np.uint8))


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SIDES, np.uint8)
    mask[3:9, 4:12] = 255
    return mask


@pytest.fixture
def pairs(tmp_path, mask):
    """A folder with photos and masks of one name."""
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for number, suffix in enumerate((".png", ".jpg")):
        (tmp_path / "photos" / f"p{number}{suffix}").write_bytes(photo(number))
    (tmp_path / "photos" / "unmarked.png").write_bytes(photo(7))
    (tmp_path / "masks" / "p0.png").write_bytes(png(mask))
    (tmp_path / "masks" / "p1.jpg.png").write_bytes(png(mask))
    return tmp_path


@pytest.fixture
def saved(tmp_path, mask):
    """What the page saves, as a ZIP file."""
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIDES[0], "width": SIDES[1]}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": _runs(mask)}],
    }
    with zipfile.ZipFile(tmp_path / "tryout.zip", "w") as archive:
        archive.writestr("supports.json", json.dumps(content))
        archive.writestr("photos/a.png", photo(3))
        archive.writestr("photos/../../outside.png", photo(4))
        archive.writestr("labels/a.png.png", b"none of the supports")
    return tmp_path / "tryout.zip"


def _runs(mask: np.ndarray) -> dict:
    changes = np.flatnonzero(np.diff(np.concatenate([[0], (mask.T.ravel() > 0).astype(int), [0]])))
    ends = [0, *changes.tolist(), mask.size]
    return {"size": list(mask.shape), "counts": [b - a for a, b in itertools.pairwise(ends)]}


def test_photos_and_masks_of_one_name(pairs, mask):
    supports, notes = read_support_folder(pairs, "1=cup")
    assert [one.image_name.rpartition("/")[2] for one in supports] == ["p0.png", "p1.jpg"] and not notes
    assert all(one.classes == {1: "cup"} for one in supports)


def test_what_the_page_saved(saved, mask):
    (support,), _ = read_support_folder(saved)
    assert support.classes == {1: "cup"} and np.array_equal(support.labels > 0, mask > 0)
    assert not (saved.parent.parent / "outside.png").exists()
    unpacked = saved.parent / "unpacked"
    with zipfile.ZipFile(saved) as archive:
        archive.extract("supports.json", unpacked)
        archive.extract("photos/a.png", unpacked)
    (again,), _ = read_support_folder(unpacked)
    assert np.array_equal(again.pixels, support.pixels) and np.array_equal(again.labels, support.labels)


def test_refusals(pairs, tmp_path):
    with pytest.raises(SettingsError, match="does not exist; expected a folder or ZIP"):
        read_support_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="has no support; expected a folder or ZIP"):
        read_support_folder(tmp_path / "empty")
    (tmp_path / "photos" / "p0.jpg").write_bytes(photo(8))
    with pytest.raises(DataError, match=r"p0.png has 2 photos of its name .* expected one"):
        read_support_folder(tmp_path)
    (tmp_path / "other.zip").write_bytes(b"PK none")
    with pytest.raises(DataError, match=r"other\.zip cannot be read"):
        read_support_folder(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("photos/a.png", photo(1))
    with pytest.raises(DataError, match=r"has no supports.json"):
        read_support_folder(tmp_path / "other.zip")
