"""LVIS-92i from LVIS's own file as published: prepared, checked, and tested under presence."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.cli.main import main
from fsbench.data.episodes.task import Task
from fsbench.data.list_substitutes import list_substitutes
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.protocols.draws.segic import draw_lvis, lvis_fold, process_streams
from fsbench.protocols.reading import load_segmentation
from fsbench.runner.config.datasets import open_dataset
from tests.datamodules.builders import save_photo
from tests.datamodules.prepare.archives import packed, prepare, times

HEIGHT, WIDTH = 12, 16
FIRST = 3
"""Id of the first category; the file names them in another order."""


def own_file(photos: int = 30, categories: int = 22) -> dict[str, Any]:
    """A file in the form of lvis_v1_val.json: photo p shows categories p and p + 1 of those with objects.

    The last category but one has objects in one photo alone, the last in none.
    """
    names = [f"{'train2017' if place % 3 == 0 else 'val2017'}/{place + 100:012d}.jpg" for place in range(photos)]
    shown = [{place % (categories - 2), (place + 1) % (categories - 2)} for place in range(photos)]
    shown[4] = {categories - 2}
    objects = []
    for place, own in enumerate(shown):
        for category in sorted(own):
            for corner in range(1 + place % 2):  # two objects of it in every second photo
                x, y = 1 + 4 * corner, 1 + category % 4
                square = [x, y, x + 3, y, x + 3, y + 3, x, y + 3]
                objects.append(
                    {
                        "id": len(objects) + 1, "image_id": place + 100, "category_id": FIRST + category, "area": 9.0,
                        "bbox": [x, y, 3, 3], "segmentation": [[float(value) for value in square]],
                    }
                )  # fmt: skip
    return {
        "info": {"version": "1.0", "description": "LVIS v1.0 val set"},
        "annotations": objects[::-1],
        "images": [
            {
                "id": place + 100, "license": 1, "height": HEIGHT, "width": WIDTH, "flickr_url": "",
                "date_captured": "", "coco_url": f"http://images.cocodataset.org/{name}",
                "neg_category_ids": [FIRST + (place + step) % categories for step in (5, 9, 11)],
                "not_exhaustive_category_ids": [FIRST + place % (categories - 2)] if place % 7 == 0 else [],
            }
            for place, name in enumerate(names)
        ],
        "licenses": [{"id": 1, "name": "", "url": ""}],
        "categories": [
            {
                "id": FIRST + number, "name": f"thing_{number}", "synonyms": [f"thing_{number}"], "def": "a thing",
                "synset": f"thing.n.{number:02}", "frequency": "r", "image_count": 1, "instance_count": 1,
            }
            for number in reversed(range(categories))
        ],
    }  # fmt: skip


def save_photos(root: Path, content: dict[str, Any]) -> None:
    for image in content["images"]:
        save_photo(root / "/".join(image["coco_url"].split("/")[-2:]), HEIGHT, WIDTH)


def check_against(content: dict[str, Any], root: Path) -> None:
    """Every episode of presence against the file itself: what is shown, what is stated to be absent, the masks."""
    data = Lvis(str(root))
    name_of = {one["id"]: "/".join(one["coco_url"].split("/")[-2:]) for one in content["images"]}
    stated = {name_of[one["id"]]: one for one in content["images"]}
    shown = {(name_of[one["image_id"]], one["category_id"]) for one in content["annotations"]}
    asked = set()
    for fold in (0, 3):
        manifest = load_segmentation("presence").manifest(data, Task(fold, episodes=8, drop_small=True))
        for episode in manifest.episodes:
            category = FIRST + episode.classes[0] - 1
            assert data.class_names[episode.classes[0] - 1] == f"thing_{category - FIRST}"
            photo, own = episode.query.split("@")
            if episode.number % 2 == 0:
                assert int(own) == category and (photo, category) in shown
                assert category not in stated[photo]["not_exhaustive_category_ids"]
            else:
                assert category in stated[photo]["neg_category_ids"] and (photo, category) not in shown
            for support in chain.from_iterable(episode.supports):
                assert (support.split("@")[0], category) in shown and support.split("@")[0] != photo
            asked.add(category)
    assert len(asked) >= 8 and not asked & {FIRST + 20, FIRST + 21}  # of which there are too few photos
    view = f"{name_of[101]}@{FIRST + 1}"
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[2:5, 1:4] = expected[2:5, 5:8] = 1
    assert np.array_equal(data.label_map(view), expected)
    assert list_substitutes(data, "val") == [
        "lvis, test images: lvis_val.pkl is absent; in its place: the categories of lvis_v1_val.json, by ascending id"
    ]


@pytest.mark.slow(1)
@pytest.mark.parametrize("form", ["zip", "json"])
def test_the_published_file_is_taken_and_is_all_that_presence_needs(form, tmp_path, capsys):
    content = own_file()
    save_photos(tmp_path / "coco", content)
    given, root = tmp_path / "downloads", tmp_path / "lvis"
    for folder in ("val2017", "train2017"):
        source = tmp_path / folder
        (source / "x").mkdir(parents=True)
        (tmp_path / "coco" / folder).rename(source / folder)
        packed(source, given / f"{folder}.zip")
    arguments = ("lvis", "--root", root, "--from", given, "--allow-unverified", "--validation-only")
    assert prepare(*arguments) == 2
    assert "no lvis_val.pkl and no lvis_v1_val.json in" in capsys.readouterr().err
    place = given / "lvis_v1_val.json" if form == "json" else tmp_path / "packed/lvis_v1_val.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(content))
    if form == "zip":
        packed(place.parent, given / "lvis_v1_val.json.zip")
    assert prepare(*arguments) == 0
    said = capsys.readouterr().out
    assert "lvis_val.pkl is not there: all tests but --protocol presence need it, in" in said
    assert json.loads((root / "lvis_v1_val.json").read_text()) == content
    assert not (root / "coco/val2017/000000000104.jpg").exists()  # whose category is in no test
    assert {path.name for path in root.iterdir() if not path.name.startswith(".")} <= {
        "coco", "lvis_v1_val.json", "prepared.json"
    }  # fmt: skip
    before = times(root)
    assert prepare(*arguments) == 0
    assert times(root) == before
    check_against(content, root)
    capsys.readouterr()
    assert main(["data", "check", "lvis", "--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert "there is no lvis_val.pkl: --protocol presence alone" in said and "PROBLEM" not in said


def test_published_tests_ask_for_the_authors_list(tmp_path):
    content = own_file()
    save_photos(tmp_path / "coco", content)
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(content))
    data = open_dataset("lvis", tmp_path)
    for protocol in ("incontext", "sansa"):
        with pytest.raises(DataError, match=r"no lvis_val.pkl, whose order decides .*--protocol presence does without"):
            load_segmentation(protocol).manifest(data, Task(0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop("categories"), "'categories'"),
        (lambda content: content["annotations"][0].pop("image_id"), "'image_id'"),
        (lambda content: content["annotations"][0].update(image_id=7), "7"),
        (lambda content: content.update(annotations=[]), "it has no objects"),
        (lambda content: content["images"][0].pop("neg_category_ids"), "'neg_category_ids'"),
    ],
)
def test_a_file_of_another_version_is_one_line(change, reason, tmp_path):
    content = own_file()
    change(content)
    (tmp_path / "coco").mkdir()
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as refused:
        Lvis(str(tmp_path)).class_names  # noqa: B018
    first, *_ = str(refused.value).splitlines()
    assert "lvis_v1_val.json is of another version" in first and f"{reason}; expected LVIS's own file" in first


def test_segic_draws_from_the_file_with_a_stream_for_each_of_its_processes(tmp_path):
    """The rule itself is a golden; here: whose file, whose streams, which names."""
    content = own_file()
    save_photos(tmp_path / "coco", content)
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(content))
    data = Lvis(str(tmp_path))
    manifest = load_segmentation("segic").manifest(data, Task(2, episodes=70))
    name_of = {one["id"]: "/".join(one["coco_url"].split("/")[-2:]) for one in content["images"]}
    rows = [(one["image_id"], one["category_id"]) for one in reversed(content["annotations"])]
    fold = lvis_fold(rows, 2)
    assert manifest.header.class_ids == [category - FIRST + 1 for category in fold.categories]
    streams = process_streams(42, 2)
    for episode in manifest.episodes:
        category, *images = draw_lvis(fold, next(streams).python)
        names = [f"{name_of[image]}@{category}" for image in images]
        assert [episode.query, *episode.supports[0]] == names
    assert any(episode.query == episode.supports[0][0] for episode in manifest.episodes)  # categories of two photos
    with pytest.raises(SettingsError, match="shot is 2, but SegIC's program shows one support; expected 1"):
        load_segmentation("segic").manifest(data, Task(2, shot=2))


def test_the_categories_of_an_image_come_by_their_ids_whatever_order_its_objects_have():
    rows = [(9, 13), (9, 33), (9, 3), (8, 23), (8, 13), (7, 23), (7, 33), (6, 3)]  # image, category
    fillers = [(image, category) for category in range(1, 34) if category % 10 != 3 for image in (1, 2)]
    for order in (rows, rows[::-1], sorted(rows)):
        fold = lvis_fold([*order, *fillers], 2)
        assert fold.categories == [3, 13, 23, 33] and fold.images == [6, 7, 8, 9]
        assert list(fold.images_of.items()) == [(3, [0, 3]), (23, [1, 2]), (33, [1, 3]), (13, [2, 3])]
