"""What the user drew is kept: own masks among the results, LabelMe files, and the numbers of classes."""

import contextlib
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.data.dataset import VOID
from fsbench.predict.folder import PredictionJournal
from fsbench.predict.supports import read_supports

COLOURS = {"cat": (220, 40, 30), "ape": (30, 40, 220)}
PLACES = {"a": (20, 20), "b": (60, 40), "c": (90, 10), "d": (10, 50)}
"""Left upper corners of the objects on four photos; `ape` lies 30 pixels to the right."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos with two objects each in `photos`, and masks of both, photo by photo, in `masks`."""
    for folder in ("photos/sub", "masks/cat", "masks/ape"):
        (tmp_path / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (left, top) in PLACES.items():
        pixels = rng.integers(80, 100, (96, 160, 3)).astype(np.uint8)
        for shift, (of_class, colour) in enumerate(COLOURS.items()):
            mask = np.zeros((96, 160), np.uint8)
            mask[top : top + 30, left + 30 * shift : left + 30 * shift + 24] = 255
            pixels[mask > 0] = colour
            Image.fromarray(mask).save(tmp_path / "masks" / of_class / f"{name}.png")
        Image.fromarray(pixels).save(tmp_path / "photos" / ("sub" if name == "d" else "") / f"{name}.png")
    return tmp_path / "photos"


def supports(photos: Path, *marked: str) -> list[str]:
    """Return the arguments of labelled photos, such as "cat:a"."""
    pairs = (one.split(":") for one in marked)
    return [f"--support={name}={photos / stem}.png:{photos.parent}/masks/{name}/{stem}.png" for name, stem in pairs]


def predict(*arguments: object) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["predict", "--dataset", "demo", "--no-check", *map(str, arguments)]) == 0
    return said.getvalue()


def labels_of(out: Path, photo: str) -> np.ndarray:
    return np.asarray(Image.open(out / "labels" / f"{photo}.png"))


def numbers_of(out: Path) -> dict[str, int]:
    return {one["name"]: one["id"] for one in json.loads((out / "annotations.json").read_text())["categories"]}


def rows_of(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["photo"], row["class"]): row for row in csv.DictReader((out / "scores.csv").open())}


def test_a_labelled_photo_keeps_its_own_mask_under_any_name(photos, tmp_path):
    shutil.copy(photos / "a.png", photos / "sub" / "copy.png")
    Image.open(photos / "b.png").save(photos / "b again.bmp")  # other bytes, the same pixels
    void = np.array(Image.open(tmp_path / "masks/cat/b.png")) // 255
    void[:5] = VOID
    Image.fromarray(void).save(tmp_path / "masks/cat/b.png")
    out = tmp_path / "out"
    arguments = (*supports(photos, "cat:a", "cat:b"), "--negative", photos / "c.png", "--query", photos, "--out", out)
    said = predict(*arguments)
    assert "1 of 6 photos predicted; 5 photos keep your own masks" in said and "cat: a mask in 1 of 1 photos" in said
    own = np.asarray(Image.open(tmp_path / "masks/cat/a.png")) // 255
    for name, expected in {"a": own, "sub/copy": own, "b": void, "c": np.zeros_like(own)}.items():
        np.testing.assert_array_equal(labels_of(out, f"{name}.png"), expected)
        row = rows_of(out)[f"{name}.png", "cat"]
        pixels = int((expected == 1).sum())
        assert (row["labelled"], row["score"], row["pixels"]) == ("true", "", str(pixels))
        assert row["present"] == ("present" if pixels else "")
    np.testing.assert_array_equal(labels_of(out, "b again.bmp"), void)
    assert rows_of(out)["sub/d.png", "cat"]["labelled"] == ""
    coco = json.loads((out / "annotations.json").read_text())
    labelled = {one["file_name"] for one in coco["images"] if one.get("labelled")}
    assert labelled == {"a.png", "b.png", "b again.bmp", "c.png", "sub/copy.png"}
    ids = {one["id"] for one in coco["images"] if one["file_name"] in labelled}
    assert all(one.get("labelled", False) == (one["image_id"] in ids) for one in coco["annotations"])
    assert "1 of 6 photos predicted (1 of them by an earlier call); 5 photos keep" in predict(*arguments)


def test_a_correction_of_a_single_pixel_is_no_old_result(photos, tmp_path, capsys):
    arguments = ("--query", photos, "--out", tmp_path / "out")
    predict(*supports(photos, "cat:a"), *arguments)
    file = tmp_path / "masks/cat/a.png"
    mask = np.array(Image.open(file))
    mask[90, 3] = 255
    Image.fromarray(mask).save(file)
    words = ["predict", "--dataset", "demo", "--no-check", *supports(photos, "cat:a"), *map(str, arguments)]
    assert main(words) == 2 and "another support" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0 and labels_of(tmp_path / "out", "a.png")[90, 3] == 1


def test_classes_keep_their_numbers(photos, tmp_path):
    def numbers(out: str, *marked: str) -> dict[str, int]:
        predict(*supports(photos, *marked), "--query", photos, "--out", tmp_path / out, "--force")
        found = numbers_of(tmp_path / out)
        for photo, name in (("a.png", "cat"), ("a.png", "ape"), ("b.png", "cat")):
            mask = np.asarray(Image.open(tmp_path / "masks" / name / photo)) > 0
            if f"{name}:{photo[0]}" in marked:
                np.testing.assert_array_equal(labels_of(tmp_path / out, photo) == found[name], mask)
        return found

    assert numbers("fresh", "cat:a", "ape:a") == numbers("other", "ape:a", "cat:a") == {"ape": 1, "cat": 2}
    (tmp_path / "many").mkdir()
    journal = PredictionJournal(tmp_path / "many", {}, ["class 10", "class 9", "b", "a"])
    assert journal.numbers == {"a": 1, "b": 2, "class 9": 3, "class 10": 4}
    assert numbers("out", "cat:a") == {"cat": 1}
    assert numbers("out", "ape:a", "cat:b") == {"cat": 1, "ape": 2}
    assert numbers("out", "ape:a") == {"ape": 2}
    assert numbers("out", "cat:b", "ape:a") == {"cat": 1, "ape": 2}


def test_predictions_are_corrected_in_labelme_and_read_again(photos, tmp_path, capsys):
    mine = photos / "a.json"
    mine.write_text('{"shapes": "mine"}')
    out, marked = tmp_path / "out", supports(photos, "cat:a", "ape:a")
    predict(*marked, "--query", photos, "--out", out, "--save", "labelme")
    assert mine.read_text() == '{"shapes": "mine"}'
    files = sorted((out / "labelme").rglob("*.json"))
    assert [file.relative_to(out / "labelme").as_posix() for file in files] == [
        "a.json",
        "b.json",
        "c.json",
        "sub/d.json",
    ]
    for file in files:
        content = json.loads(file.read_text())
        photo = (file.parent / content["imagePath"]).resolve()
        expected = labels_of(out, photo.relative_to(photos).as_posix())
        assert (content["imageHeight"], content["imageWidth"]) == expected.shape and content["imageData"] is None
        (read,), notes = read_supports([str(file)])
        for number, name in read.classes.items():
            np.testing.assert_array_equal(read.labels == number, expected == numbers_of(out)[name])
        assert set(read.classes.values()) == {n for n, at in numbers_of(out).items() if (expected == at).any()}
        assert not notes

    corrected = json.loads((out / "labelme/b.json").read_text())
    polygon = {"label": "cat", "points": [[5, 5], [15, 5], [15, 20], [5, 20]], "shape_type": "polygon", "flags": {}}
    corrected["shapes"] = [polygon | {"group_id": None}]
    (out / "labelme/b.json").write_text(json.dumps(corrected))
    (out / "labelme/sub/d.json").unlink()
    capsys.readouterr()
    again = ("--support", out / "labelme", "--query", photos, "--save", "labelme")
    said = predict(*again, "--out", tmp_path / "better")
    assert "1 of 4 photos predicted; 3 photos keep your own masks" in said
    assert "1 of the LabelMe files of --support are predictions" in capsys.readouterr().err
    better = labels_of(tmp_path / "better", "b.png")
    assert (better == numbers_of(tmp_path / "better")["cat"]).sum() == better.astype(bool).sum() == 11 * 16
    before = (out / "labelme/b.json").read_bytes()
    for _ in range(2):
        predict(*again, "--out", out, "--force")
        assert "out/labelme/b.json" in capsys.readouterr().err
    assert (out / "labelme/b.json").read_bytes() == before and len([*(out / "labelme").rglob("*.json")]) == 4
    np.testing.assert_array_equal(labels_of(out, "b.png") > 0, better > 0)


def test_pictures_that_are_not_read_are_named_once(photos, tmp_path, capsys):
    for name in ("x.gif", "sub/y.GIF", "z.webp", ".hidden.gif", "notes.txt"):
        (photos / name).write_bytes(b"GIF89a")
    predict(*supports(photos, "cat:a"), "--query", photos, "--out", tmp_path / "out")
    said = capsys.readouterr().err
    assert said.count("2 .gif, 1 .webp") == 1 and ".txt" not in said


def test_a_small_object_of_a_large_photo_is_found_in_tiles(photos, tmp_path, capsys):
    rng = np.random.default_rng(1)
    large = rng.integers(80, 100, (1500, 2000, 3)).astype(np.uint8)
    truth = np.zeros((1500, 2000), bool)
    truth[700:730, 1205:1235] = True
    large[truth] = COLOURS["cat"]
    Image.fromarray(large).save(photos / "large.png")
    for tiles in ((), ("--tiles",)):
        predict(*supports(photos, "cat:a"), "--query", photos, "--out", tmp_path / f"out{len(tiles)}", *tiles)
        assert capsys.readouterr().err.count("sees each photo at 128 pixels") == 1 - len(tiles)
    ious = []
    for out in (tmp_path / "out0", tmp_path / "out1"):
        found = labels_of(out, "large.png") > 0
        ious.append((found & truth).sum() / (found | truth).sum())
    assert ious[0] < 0.1 and ious[1] > 0.4, ious
    for name in ("b.png", "sub/d.png"):
        np.testing.assert_array_equal(labels_of(tmp_path / "out0", name), labels_of(tmp_path / "out1", name))
