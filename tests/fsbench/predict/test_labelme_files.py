"""LabelMe files of label maps: read again pixel by pixel, found by LabelMe, and known as fsbench's own."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fsbench.data.dataset import VOID
from fsbench.predict.labelme_files import kind_as_written, write_labelme
from fsbench.predict.supports import read_supports

NAMES = {1: "cat", 2: "dög", 9: "_x"}


def label_map(seed: int, blur: float) -> np.ndarray:
    """Regions of three classes and void with holes, lines and single pixels, the more the less blurred."""
    rng = np.random.default_rng(seed)
    values = cv2.GaussianBlur(rng.normal(size=rng.integers(30, 120, 2)), (0, 0), blur)
    return np.digitize(values / values.std(), [-1, -0.6, -0.5, 0, 1])[..., None].choose([2, 0, VOID, 0, 1, 9])[..., 0]


def write(folder: Path, labels: np.ndarray) -> Path:
    photo = folder / "photos with" / "a b.png"
    photo.parent.mkdir(exist_ok=True)
    Image.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(photo)
    file = folder / "out" / "labelme" / "a b.json"
    assert write_labelme(file, labels, NAMES, photo, "predicted")
    return file


@pytest.mark.parametrize("blur", [0.4, 1, 2, 6])
def test_what_is_written_is_read_pixel_by_pixel(tmp_path, blur):
    for seed in range(4):
        labels = label_map(seed, blur).astype(np.uint8)
        file = write(tmp_path, labels)
        (read,), _ = read_supports([str(file)])
        back = {0: 0, VOID: VOID} | {
            number: {n: k for k, n in NAMES.items()}[name] for number, name in read.classes.items()
        }
        np.testing.assert_array_equal(np.vectorize(back.get)(read.labels), labels)


def test_the_form_is_labelmes(tmp_path):
    labels = np.zeros((60, 80), np.uint8)
    labels[5:20, 5:30] = 1
    labels[30:50, 30:60] = 2
    labels[35:40, 40:45] = 0  # a hole
    file = write(tmp_path, labels)
    content = json.loads(file.read_text(encoding="utf-8"))
    keys = {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert content.keys() - {"fsbench"} == keys and content["imagePath"] == "../../photos with/a b.png"
    polygon, mask = content["shapes"]
    assert (polygon["label"], polygon["shape_type"], polygon["mask"]) == ("cat", "polygon", None)
    assert sorted(polygon["points"]) == [[5, 5], [5, 19], [29, 5], [29, 19]]
    assert (mask["label"], mask["shape_type"], mask["points"]) == ("dög", "mask", [[30, 30], [59, 49]])


def test_only_files_as_fsbench_wrote_them_are_replaced(tmp_path):
    labels = np.zeros((20, 20), np.uint8)
    labels[5:9, 5:9] = 1
    file, photo = write(tmp_path, labels), tmp_path / "photos with/a b.png"
    assert kind_as_written(file) == "predicted"
    assert write_labelme(file, labels, NAMES, photo, "labelled") and kind_as_written(file) == "labelled"
    content = json.loads(file.read_text())
    for changed in (
        content | {"version": "5.8.1"},
        content | {"fsbench": 3},
        content | {"fsbench": "labelled"},
        [content],
    ):
        file.write_text(json.dumps(changed))
        assert kind_as_written(file) == "" and not write_labelme(file, labels, NAMES, photo, "predicted")
        assert json.loads(file.read_text()) == changed
    file.write_text(json.dumps(content))
    assert write_labelme(file, 0 * labels, NAMES, photo, "predicted") and not file.exists()
