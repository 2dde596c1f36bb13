"""Images are found in folders and decoded upright, as PIL's own transposition has them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.image_io import read_upright
from fsbench.data.orientation import apply_orientation
from fsbench.data.picture_file import picture_header
from fsbench.predict.images import find_images

PIXELS = np.random.RandomState(0).randint(0, 256, (5, 9, 3)).astype(np.uint8)


def save(path: Path, pixels: np.ndarray = PIXELS, orientation: int = 1, **options) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_orientation_is_pils(tmp_path, orientation, suffix):
    path = save(tmp_path / f"a.{suffix}", orientation=orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    pixels, applied = read_upright(path)
    assert applied == orientation
    np.testing.assert_array_equal(pixels, expected)
    header = picture_header(path)
    assert (header.height, header.width, header.orientation) == (5, 9, orientation)


def test_a_strange_orientation_is_none():
    np.testing.assert_array_equal(apply_orientation(PIXELS, 77), PIXELS)


def test_folders_are_searched_through(tmp_path):
    for name in ("b.JPG", "sub/a.png", "sub/deep/c.tif", ".hidden.jpg", ".git/d.jpg", "out/overlays/b.jpg"):
        save(tmp_path / name, format="png")
    (tmp_path / "sub" / "notes.txt").write_text("")
    images = find_images([tmp_path], out=tmp_path / "out")
    assert [image.name for image in images] == ["b.JPG", "sub/a.png", "sub/deep/c.tif"]
    assert images[1].path == tmp_path / "sub" / "a.png"
    single = find_images([tmp_path / "b.JPG", tmp_path / "sub" / "a.png"])
    assert [image.name for image in single] == ["a.png", "b.JPG"]
    save(tmp_path / "out" / "a.png")
    with pytest.raises(SettingsError, match="the same name"):
        find_images([tmp_path / "out", tmp_path / "sub"])


def test_folders_that_cannot_be_read_are_said(tmp_path, monkeypatch):
    for name in ("a.png", "locked/b.png"):
        save(tmp_path / name)

    def scandir(path, real=os.scandir):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused: list[str] = []
    images = find_images([tmp_path], refused=refused)
    assert [image.name for image in images] == ["a.png"]
    assert len(refused) == 1 and "locked cannot be read (Permission denied)" in refused[0]
    with pytest.raises(DataError, match="locked cannot be read"):
        find_images([tmp_path])


@pytest.mark.parametrize("name", ["scan.nii.gz", "slice.dcm", "IM000001"])
def test_a_scan_is_refused_with_the_command_that_makes_pictures_of_it(tmp_path, name):
    scan = tmp_path / name
    scan.write_bytes(bytes(128) + b"DICM")
    for query in (scan, tmp_path):
        command = rf"fsbench data convert {re.escape(str(query))} --out slices"
        with pytest.raises(SettingsError, match=rf"{name} is a .*scan, and fsbench predict reads pictures.*{command}"):
            find_images([query])


def test_a_scan_is_refused_before_torch_is_imported(tmp_path):
    (tmp_path / "0.dcm").write_bytes(bytes(128) + b"DICM")
    command = [sys.executable, "-X", "importtime", "-m", "fsbench", "predict", "--support", "cat=0.dcm:0.dcm"]
    said = subprocess.run([*command, "--query", "."], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 2 and "| torch\n" not in said.stderr and "0.dcm is a slice of a scan" in said.stderr
