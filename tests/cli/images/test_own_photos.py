"""Photos of one's own, labelled with the tools people have: checked, tested and searched without a file by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fsbench.cli.main import main

SIZE = (96, 128)
CLASSES = ("disc", "square")
PHOTOS = 14
TESTED = range(6, PHOTOS)
"""The photos that are the test's where a form tells it."""


def corners(photo: int, number: int) -> list[list[int]]:
    """The object of a class in a photo: a rectangle, whose last row and column belong to it."""
    top, left = 4 + 3 * (photo % 4), 6 + 60 * (number - 1) + 2 * (photo % 5)
    return [[left, top], [left + 40, top], [left + 40, top + 50], [left, top + 50]]


def label_map(photo: int) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    for number in range(1, len(CLASSES) + 1):
        (left, top), _, (right, bottom), _ = corners(photo, number)
        labels[top : bottom + 1, left : right + 1] = number
    return labels


def draw_photos(folder: Path, photos: range) -> None:
    folder.mkdir(parents=True)
    for photo in photos:
        rng = np.random.RandomState(photo)
        pixels, labels = rng.randint(60, 110, (*SIZE, 3)), label_map(photo)
        pixels[labels == 1] += [120, 0, 0]
        pixels[labels == 2] += [0, 0, 120]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{photo:02d}.jpg", quality=95)


def labelme(root: Path) -> Path:
    draw_photos(root, range(PHOTOS))
    for photo in range(PHOTOS):
        shapes = [
            {"label": name, "shape_type": "polygon", "points": corners(photo, number), "group_id": None, "flags": {}}
            for number, name in enumerate(CLASSES, 1)
        ]
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"p{photo:02d}.jpg"}
        content |= {"imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (root / f"p{photo:02d}.json").write_text(json.dumps(content))
    return root


def coco_with_split(root: Path) -> Path:
    draw_photos(root / "photos", range(PHOTOS))
    for part, photos in (("train", range(TESTED.start)), ("val", TESTED)):
        images = [{"id": n, "file_name": f"p{n:02d}.jpg", "height": SIZE[0], "width": SIZE[1]} for n in photos]
        annotations = [
            {
                "id": 10 * n + number, "image_id": n, "category_id": number, "iscrowd": 0, "area": 41 * 51,
                "bbox": [*corners(n, number)[0], 40, 50], "segmentation": [np.ravel(corners(n, number)).tolist()],
            }
            for n in photos
            for number in range(1, len(CLASSES) + 1)
        ]  # fmt: skip
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"instances_{part}.json").write_text(json.dumps(content))
    return root


def masks(root: Path) -> Path:
    draw_photos(root / "photos", range(PHOTOS))
    (root / "masks").mkdir()
    for photo in range(PHOTOS):
        Image.fromarray(label_map(photo)).save(root / "masks" / f"p{photo:02d}.png")
    return root


def csv(root: Path) -> Path:
    masks(root)
    (root / "photos").rename(root / "pictures")
    (root / "masks").rename(root / "drawn")
    rows = [
        (f"pictures/p{n:02d}.jpg", f"drawn/p{n:02d}.png", "test" if n in TESTED else "training") for n in range(PHOTOS)
    ]
    pl.DataFrame(rows, schema=["photo", "labels", "part"], orient="row").write_csv(root / "table.csv")
    return root / "table.csv"


def counts_of_a_test(root: Path, runs: Path) -> list[int]:
    """Return tp, pred and gt of each class over all episodes of a test of the folder."""
    words = ["bench", "--method", "prototype", "--backbone", "demo", "--image-size", "128", "--dataset", "folder"]
    assert main([*words, "--data-root", str(root), "--shot", "2", "--no-trivial", "--runs", str(runs)]) == 0
    frame = pl.concat([pl.read_parquet(file) for file in runs.rglob("episodes.parquet")])
    return [int(frame[column].sum()) for column in ("tp", "pred", "gt")]


@pytest.mark.slow(60)
@pytest.mark.parametrize("form", [labelme, coco_with_split, masks, csv])
def test_three_commands_check_test_and_search_photos_of_every_form(
    form: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = form(tmp_path / "mine")
    before = {file: file.read_bytes() for file in (tmp_path / "mine").rglob("*") if file.is_file()}
    assert main(["data", "check", "folder", "--root", str(root)]) == 0
    assert "PROBLEM" not in capsys.readouterr().out
    true, predicted, marked = counts_of_a_test(root, tmp_path / "runs")
    assert 0 < true <= min(predicted, marked)

    draw_photos(tmp_path / "others", range(50, 53))
    words = ["predict", "--support", str(root), "--query", "others", "--out", "found", "--backbone", "demo"]
    assert main([*words, "--no-check"]) == 0
    for photo in range(50, 53):
        found, truth = np.asarray(Image.open(f"found/labels/p{photo}.jpg.png")), label_map(photo)
        for number in (1, 2):
            assert ((found == number) & (truth == number)).sum() / ((found == number) | (truth == number)).sum() > 0.5
    assert {file: file.read_bytes() for file in before} == before
