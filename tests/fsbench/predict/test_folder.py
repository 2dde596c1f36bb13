"""Contents of the folder of predictions: single objects, COCO's file, the table, and a journal that is believed."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Instances
from fsbench.data.label_maps import resize_labels
from fsbench.predict.folder import PredictionJournal, write_coco, write_scores
from fsbench.predict.result import ClassPresence, Entry, ImageResult, RunLengths, image_instances
from fsbench.records.checked_jsonl import checked_line

ENTRY = {"photo": "a.jpg", "height": 2, "width": 3, "classes": [], "stamp": [1]}
CLASS = {"number": 1, "name": "cat", "present": True, "score": 0.5, "pixels": 2, "tells": False}
CLASS["runs"] = {"bbox": [0, 0, 1, 1], "counts": "0"}


def three_objects() -> tuple[Instances, np.ndarray]:
    """Two objects of class 1 that touch, one of class 2 over the second, and the label map."""
    masks = torch.zeros(3, 12, 12, dtype=torch.bool)
    masks[0, 1:6, 1:5] = masks[1, 1:9, 5:11] = masks[2, 6:11, 6:9] = True
    labels = np.zeros((12, 12), np.uint8)
    labels[(masks[0] | masks[1]).numpy()] = 1
    labels[masks[2].numpy()] = 2
    return Instances(masks, torch.tensor([1, 1, 2]), torch.tensor([0.4, 0.9, 0.7])), labels


@pytest.mark.parametrize("size", [(12, 12), (31, 50), (5, 7)])
def test_the_objects_of_a_class_have_its_pixels_together(size):
    instances, own = three_objects()
    labels = resize_labels(own, *size)
    found = image_instances(instances, own, labels)
    assert [(one.number, round(one.score, 2)) for one in found] == [(1, 0.9), (1, 0.4), (2, 0.7)]
    for number in (1, 2):
        together = np.any([one.mask(size) for one in found if one.number == number], axis=0)
        np.testing.assert_array_equal(together, labels == number)
    assert [one.pixels for one in found] == [int(one.mask(size).sum()) for one in found]
    labels[labels == 2] = 0  # a class that is not present loses its pixels
    assert {one.number for one in image_instances(instances, own, labels)} == {1}


def test_masks_of_another_size_lose_no_pixel():
    instances, _ = three_objects()
    for side in (5, 40):
        own = resize_labels(np.asarray(instances.masks[:2].any(0)).astype(np.uint8), side, side)
        found = image_instances(instances, own, own)
        np.testing.assert_array_equal(np.any([one.mask(own.shape) for one in found], axis=0), own == 1)


def test_each_object_is_an_annotation_with_its_own_score(tmp_path):
    instances, labels = three_objects()
    found = image_instances(instances, labels, labels)
    pixels = [int((labels == number).sum()) for number in (1, 2, 3)]
    names = zip((1, 2, 3), ("cat", "dog", "cow"), pixels, strict=True)
    classes = tuple(ClassPresence(number, name, count > 0, 0.5, count) for number, name, count in names)
    preview = np.full((12, 12, 3), 90, np.uint8)
    result = ImageResult("a.jpg", labels, classes, preview, found, (("points", preview),))
    assert str(result) == f"a.jpg: cat {pixels[0]} pixels (2 objects), dog {pixels[1]} pixels, cow no pixels"
    journal = PredictionJournal(tmp_path, {})
    journal.add(result.save(tmp_path))
    journal.lines.close()
    assert Image.open(tmp_path / "steps/a.jpg.png").size[0] > 600  # the prediction and the step beside each other
    again = PredictionJournal(tmp_path, {})
    assert again.entries == journal.entries
    write_coco(tmp_path / "annotations.json", list(again.entries.values()), {"cow": 3, "cat": 1, "dog": 2}, "x")
    coco = COCO(str(tmp_path / "annotations.json"))
    shown = coco.loadAnns(coco.getAnnIds())
    assert [(one["category_id"], round(one["score"], 2)) for one in shown] == [(1, 0.9), (1, 0.4), (2, 0.7)]
    np.testing.assert_array_equal(coco.annToMask(shown[1]) > 0, found[1].mask((12, 12)))


def test_scores_are_written_where_they_tell_photos_apart_and_names_are_no_formulas(tmp_path):
    runs = RunLengths([0, 0, 1, 1], "0")
    classes = [ClassPresence(1, "@cat", False, 0.25, 1, True, runs), ClassPresence(2, "dog", True, 0.5, 1, False, runs)]
    entry = Entry(photo="=1+1.jpg", height=2, width=2, classes=classes)
    write_scores(tmp_path / "scores.csv", [entry])
    rows = [tuple(row.values()) for row in csv.DictReader((tmp_path / "scores.csv").open())]
    assert rows == [
        ("'=1+1.jpg", "'@cat", "not present", "0.250000", "1", "0.250000", ""),
        ("'=1+1.jpg", "dog", "", "", "1", "0.250000", ""),
    ]
    write_coco(tmp_path / "coco.json", [entry], {"@cat": 1, "dog": 2}, "x")
    first, second = COCO(str(tmp_path / "coco.json")).dataset["annotations"]
    assert first["present"] is False and first["score"] == 0.25 and not {"present", "score"} & second.keys()


@pytest.mark.parametrize("absolute", [True, False])
def test_force_removes_nothing_outside_of_the_folder(tmp_path, absolute):
    out, kept = tmp_path / "out", tmp_path / "pic.png"
    inside = out / "labels" / "a" / "b.jpg.png"
    for file in (kept, inside):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    names = [str(tmp_path / "pic") if absolute else "../../pic", "a/b.jpg"]
    lines = [{"identity": {"method": 1}}, *(ENTRY | {"photo": name} for name in names)]
    (out / "journal.jsonl").write_text("".join(map(checked_line, lines)))
    PredictionJournal(out, {"method": 2}, force=True).lines.close()
    assert kept.is_file() and not inside.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1], {}, 3, "photo", {"photo": "b"}, ENTRY | {"photo": None}, ENTRY | {"photo": ["a"]}, ENTRY | {"photo": "\0"},
        ENTRY | {"photo": ""}, ENTRY | {"height": "x"}, ENTRY | {"height": 0}, ENTRY | {"classes": [{}]},
        ENTRY | {"classes": [CLASS | {"runs": {"bbox": [0, 0, 1, 1], "counts": 3}}]},
    ],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_set_aside(tmp_path, value):
    lines = [{"identity": {}}, value, ENTRY | {"classes": [CLASS]}]
    (tmp_path / "journal.jsonl").write_text("".join(map(checked_line, lines)))
    journal = PredictionJournal(tmp_path, {})
    journal.lines.close()
    assert list(journal.entries) == ["a.jpg"]


def test_an_identity_of_another_form_is_another_one(tmp_path):
    (tmp_path / "journal.jsonl").write_text(checked_line({"identity": {"method": "emat"}}))
    with pytest.raises(
        SettingsError, match=r"made with other settings \(method was None, now x\); choose another --out"
    ):
        PredictionJournal(tmp_path, {"method": {"name": "x"}})


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"no_check": True}, {}, "made with --no-check, now without it"),
        ({}, {"no_check": True}, "made without --no-check, now with it"),
    ],
)
def test_another_check_is_told_in_the_words_of_the_option(tmp_path, before, now, words):
    PredictionJournal(tmp_path, before).lines.close()
    with pytest.raises(SettingsError, match=rf"made with other settings \({words}\)"):
        PredictionJournal(tmp_path, now)
