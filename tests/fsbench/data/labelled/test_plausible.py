"""What is allowed but hardly meant is said, and sound label maps are passed over."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.labelled.image import LabelledImage, MaskFile
from fsbench.data.labelled.outlines import Outlines, Region
from fsbench.data.labelled.plausible import Plausibility

SOUND = np.zeros((96, 128), np.uint8)
SOUND[20:60, 20:60], SOUND[70:90, 90:120], SOUND[60:62, 20:60] = 4, 2, 255


def notes(*maps: np.ndarray, image: LabelledImage | None = None) -> list[str]:
    looked = Plausibility()
    for place, labels in enumerate(maps):
        looked.add(f"im{place}", labels, image)
    return looked.notes()


@pytest.mark.parametrize("method", [cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC])
def test_interpolated_label_maps(method):
    given = np.where(SOUND == 255, 0, SOUND)
    smooth = cv2.resize(cv2.resize(given, (85, 64), interpolation=method), (128, 96), interpolation=method)
    (note,) = notes(SOUND, smooth)
    assert "im1" in note and "im0" not in note and "interpol" not in note
    assert not notes(cv2.resize(cv2.resize(given, (85, 64), interpolation=0), (128, 96), interpolation=0))


@pytest.mark.parametrize("cup", [0, None])
def test_void_in_place_of_the_background(cup):
    labels = np.full((96, 128), 255, np.uint8)
    labels[20:60, 20:60] = 128
    if cup is not None:
        labels[30:40, 30:40] = cup
    (note,) = notes(labels)
    assert "86 %" in note
    assert not notes(labels, SOUND, SOUND)  # one of three
    labels[:30] = 0
    assert not notes(labels)


def square(left: int, top: int, side: int) -> tuple[np.ndarray, ...]:
    return (np.array([[left, top], [left + side, top], [left + side, top + side], [left, top + side]]),)


@pytest.mark.parametrize(("left", "is_said"), [(39, False), (20, True), (14, True)])
def test_classes_covered_by_later_ones(tmp_path, left, is_said):
    regions = (Region("cat", square(10, 10, 30)), Region("dog", square(left, 20, 20)), Region("cat", square(0, 50, 9)))
    outlines = Outlines(tmp_path / "a.json", regions, (96, 128), ("cat", "dog"))
    image = LabelledImage("a", tmp_path / "a.jpg", outlines)
    found = notes(outlines.paint().labels, image=image)
    assert [("% of cat" in note) for note in found] == [True] * is_said


@pytest.mark.parametrize(
    ("stated", "is_said"),
    [("a.jpg", False), ("x/a.jpg", False), ("..\\x\\a.jpg", False), ("y/a.jpg", True), ("/home/me/a.jpg", True)],
)
def test_photos_found_by_their_bare_name(tmp_path, stated, is_said):
    outlines = Outlines(tmp_path / "a.json", (), (96, 128), (), stated)
    found = notes(SOUND, image=LabelledImage("a", tmp_path / "x" / "a.jpg", outlines))
    assert [stated in note for note in found] == [True] * is_said


def place(left: float, top: float, step: float = 10.0, system: int = 32633) -> list[tuple]:
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, system)
    return [
        (33550, "d", 3, (step, step, 0.0), True), (33922, "d", 6, (0, 0, 0, left, top, 0.0), True),
        (34735, "H", 12, keys, True),
    ]  # fmt: skip


SOUTH = [(34264, "d", 16, (10.0, 0, 0, 0, 0, 10.0, 0, 4040.0, 0, 0, 0, 0, 0, 0, 0, 1.0), True)]


@pytest.mark.parametrize(
    ("own", "is_refused"),
    [
        (place(0, 5000), False), (place(0, 5000.01), False), ([], False), (place(400, 5000), True),
        (place(0, 5000)[:2], False),
        (place(0, 5000, step=20), True), (place(0, 5000, system=32634), True), (SOUTH, True),
    ],
)  # fmt: skip
def test_geotiffs_of_another_place_are_refused(tmp_path, own, is_refused):
    photo, mask = tmp_path / "photo.tif", tmp_path / "mask.tif"
    tifffile.imwrite(photo, np.zeros((96, 128, 3), np.uint8), photometric="rgb", extratags=place(0, 5000))
    tifffile.imwrite(mask, np.where(SOUND == 255, 0, SOUND), photometric="minisblack", extratags=own)
    image = LabelledImage("photo", photo, MaskFile(mask))
    if is_refused:
        with pytest.raises(DataError, match=r"mask\.tif"):
            notes(SOUND, image=image)
    else:
        assert not notes(SOUND, image=image)


def test_other_files_have_no_place(tmp_path: Path):
    for name in ("a.png", "m.png"):
        Image.fromarray(SOUND).save(tmp_path / name)
    assert not notes(SOUND, image=LabelledImage("a", tmp_path / "a.png", MaskFile(tmp_path / "m.png")))
