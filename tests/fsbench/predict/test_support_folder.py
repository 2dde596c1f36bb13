"""Supports of a folder, in each of its forms."""

import io
import itertools
import json

import numpy as np
import pytest
from fsbench.predict.support_folder import read_support_folder
from PIL import Image

from fsbench.base.errors import DataError, SettingsError

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
def labelled(tmp_path, mask):
    """A folder with a COCO file and its photo."""
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": SIDES[0], "width": SIDES[1]}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": _runs(mask)}],
    }
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo(3))
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return tmp_path


def _runs(mask: np.ndarray) -> dict:
    changes = np.flatnonzero(np.diff(np.concatenate([[0], (mask.T.ravel() > 0).astype(int), [0]])))
    ends = [0, *changes.tolist(), mask.size]
    return {"size": list(mask.shape), "counts": [b - a for a, b in itertools.pairwise(ends)]}


def test_photos_and_masks_of_one_name(pairs, mask):
    supports, notes = read_support_folder(pairs, "1=cup")
    assert [one.image_name.rpartition("/")[2] for one in supports] == ["p0.png", "p1.jpg"] and not notes
    assert all(one.classes == {1: "cup"} for one in supports)


def test_a_coco_file_beside_photos(labelled, mask):
    (support,), _ = read_support_folder(labelled)
    assert support.classes == {1: "cup"} and np.array_equal(support.labels > 0, mask > 0)


def test_refusals(pairs, tmp_path):
    for path in (tmp_path / "nowhere", tmp_path / "masks" / "p0.png"):
        with pytest.raises(SettingsError, match="is no folder; expected a folder with JSON files"):
            read_support_folder(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="has no support; expected a folder with JSON files"):
        read_support_folder(tmp_path / "empty")
    (tmp_path / "photos" / "p0.jpg").write_bytes(photo(8))
    with pytest.raises(DataError, match=r"p0.png has 2 photos of its name .* expected one"):
        read_support_folder(tmp_path)
