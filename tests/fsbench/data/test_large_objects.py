"""Large objects of a COCO file: what the goldens do not hold (fssdino.md §5)."""

import json

import numpy as np
import pytest

from fsbench.base.errors import DataError
from fsbench.data.large_objects import large_objects, read_large_objects


def annotation(category: int, image: int, segmentation: object, area: float = 3000, iscrowd: int = 0) -> dict:
    return {
        "category_id": category, "image_id": image, "segmentation": segmentation, "area": area, "iscrowd": iscrowd
    }  # fmt: skip


def content(*annotations: dict) -> dict:
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 6} for i in range(12)]
    categories = [{"id": number, "name": str(number)} for number in (1, 2, 3, 5, 8)]
    return {"images": images, "annotations": list(annotations), "categories": categories}


def test_small_objects_and_crowds_do_not_exist_and_images_stand_as_in_a_set():
    given = [
        annotation(1, 9, []), annotation(1, 8, [], area=2047.9), annotation(1, 7, [], area=2048),
        annotation(1, 10, [], iscrowd=1), annotation(2, 11, []), annotation(1, 9, []),
    ]  # fmt: skip
    found = large_objects(content(*given))
    assert [(item.image, item.category) for item in found.objects] == [(9, 1), (7, 1), (11, 2), (9, 1)]
    assert found.images_of == {1: list({9, 7}), 2: [11], 3: [], 5: [], 8: []}


def test_run_lengths_are_read_objects_joined_and_an_empty_mask_is_one_pixel():
    runs = {"size": [4, 6], "counts": [5, 2, 17]}  # column by column
    nothing = {"size": [4, 6], "counts": [24]}
    thin = [[5.9, 3.9, 5.9, 3.9, 5.9, 3.9]]
    found = large_objects(
        content(annotation(3, 1, runs), annotation(5, 1, nothing), annotation(8, 1, thin), annotation(3, 1, thin))
    )
    assert np.argwhere(found.mask(1, 3)).tolist() == [[1, 1], [2, 1], [3, 5]]
    assert np.argwhere(found.mask(1, 5)).tolist() == [[0, 0]] and np.argwhere(found.mask(1, 8)).tolist() == [[3, 5]]
    assert not found.mask(1, 1).any() and found.mask(2, 3).shape == (4, 6)


def test_a_file_is_read_once_and_kept_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "instances.json"
    square = [[0.25, 0.5, 3.75, 0.5, 3.75, 3.5, 0.25, 3.5]]
    path.write_text(json.dumps(content(annotation(2, 3, square), annotation(2, 1, square, area=7))))
    first = read_large_objects(path)
    monkeypatch.setattr("fsbench.data.large_objects.read_json", None)
    again = read_large_objects(path)
    assert first == again and first.images_of[2] == [3] and first.image_ids["3.jpg"] == 3
    assert first.mask(3, 2).sum() == again.mask(3, 2).sum() == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"image_id": 1, "category_id": 1, "segmentation": []}]}, 'annotations[0] has no "area"'),
        ({"annotations": [annotation(1, 1, [], area="big")]}, "an annotation has the area 'big', not a number"),
        ({"annotations": [annotation(1, 99, [])]}, "an annotation is on image 99, which is not listed"),
        ({"annotations": [annotation(4, 1, [])]}, "an annotation has the category id 4, which is not listed"),
        ({"annotations": [{"id": 1}]}, 'annotations[0] has no "image_id"'),
        ({"images": [{"id": 1, "file_name": "a", "height": 0, "width": 3}]}, "is stated to have 3x0 pixels"),
    ],
)
def test_a_file_of_another_form_is_one_clear_line(tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content() | change))
    with pytest.raises(DataError) as refused:
        read_large_objects(path)
    assert message in str(refused.value) and str(path) in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_large_objects(tmp_path / "none.json")


def test_a_mask_of_another_size_names_file_and_image():
    found = large_objects(content(annotation(1, 3, {"size": [9, 9], "counts": [81]})))
    with pytest.raises(DataError, match=r"unusable mask on 3\.jpg"):
        found.mask(3, 1)
