"""Objects of a prediction at the image's size, and what is written of them."""

import json

import numpy as np
import pytest
import torch
from fsbench.predict.instances import image_instances
from fsbench.predict.journal import PredictionJournal
from fsbench.predict.outputs import write_coco
from PIL import Image
from pycocotools.coco import COCO

from fsbench.core.prediction import Instances
from fsbench.data.label_maps import resize_labels
from fsbench.predict.result import ClassPresence, Result


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
    result = Result("a.jpg", labels, classes, preview, found, (("points", preview),))
    assert str(result) == f"a.jpg: cat {pixels[0]} pixels (2 objects), dog {pixels[1]} pixels, cow no pixels"
    entry = result.save(tmp_path) | {"stamp": [1]}
    assert Image.open(tmp_path / "steps/a.jpg.png").size[0] > 600  # the prediction and the step beside each other
    journal = PredictionJournal(tmp_path, {})
    journal.add(json.loads(json.dumps(entry)))
    again = PredictionJournal(tmp_path, {})
    write_coco(tmp_path / "annotations.json", lambda: again.entries(["a.jpg"]), ["cat", "dog", "cow"], "x")
    coco = COCO(str(tmp_path / "annotations.json"))
    shown = coco.loadAnns(coco.getAnnIds())
    assert [(one["category_id"], round(one["score"], 2)) for one in shown] == [(1, 0.9), (1, 0.4), (2, 0.7)]
    np.testing.assert_array_equal(coco.annToMask(shown[1]) > 0, found[1].mask((12, 12)))
    for each in (journal, again):
        each.close()
