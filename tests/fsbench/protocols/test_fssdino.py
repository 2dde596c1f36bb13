"""FSSDINO's own test on COCO: its episodes, what a method is given, what is refused (fssdino.md §5)."""

import hashlib
import json
import random

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.task import Task
from fsbench.data.label_maps import frame_labels, stretch_truth
from fsbench.datamodules.datasets.coco import CocoAll
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES, Coco
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.draws.large_objects import LargeObjectTest
from fsbench.protocols.reading import load_protocol
from tests.data_modules import episodic

PROTOCOL = load_protocol("fssdino")


def plain_episodes(path, fold: int, shot: int, count: int) -> list[tuple[int, list[int]]]:
    """Draw episodes as §5 says, with Python's global functions and classes of `shot` images or fewer left out."""
    content = json.loads(path.read_text())
    categories = [category["id"] for category in content["categories"]][fold::4]
    images = {category: set() for category in categories}
    for entry in content["annotations"]:
        if entry["category_id"] in categories and not entry["iscrowd"] and entry["area"] >= 2048:
            images[entry["category_id"]].add(entry["image_id"])
    usable = [category for category in categories if len(images[category]) > shot]
    state = random.getstate()
    random.seed(0)
    drawn = []
    for _ in range(count):
        category = random.choice(usable)
        drawn.append((category, random.sample(list(images[category]), shot + 1)))
    random.setstate(state)
    return drawn


@pytest.mark.parametrize(("fold", "shot"), [(0, 1), (3, 2)])
def test_real_annotations_draw_and_show_what_a_plain_program_does(real_data, fold, shot):
    root = real_data / "coco-mini"
    path = root / "annotations/instances_val2014.json"
    content = json.loads(path.read_text())
    files = {image["id"]: image for image in content["images"]}
    data = PROTOCOL.draw.data(Coco(str(root)))
    manifest = PROTOCOL.manifest(data, Task(fold, 1, shot, episodes=60, drop_small=True))
    plain = plain_episodes(path, fold, shot, 60)
    numbers = [category["id"] for category in content["categories"]]
    for episode, (category, ids) in zip(manifest.episodes, plain, strict=True):
        number = numbers.index(category) + 1
        names = [f"val2014/{files[i]['file_name']}@{number}" for i in ids]
        assert (episode.classes, [episode.query, *episode.supports[0]]) == ((number,), names)
    for (category, ids), episode in list(zip(plain, manifest.episodes, strict=True))[:8]:
        image = files[ids[0]]
        size = (image["height"], image["width"])
        union = np.zeros(size, dtype=bool)
        for entry in content["annotations"]:
            own = entry["image_id"] == ids[0] and entry["category_id"] == category
            if own and not entry["iscrowd"] and entry["area"] >= 2048:
                runs = coco_mask.merge(coco_mask.frPyObjects(entry["segmentation"], *size))
                union |= coco_mask.decode(runs) > 0
        labels = data.label_map(episode.query)
        assert np.array_equal(labels, union * np.uint8(episode.query_class))
        assert data.class_pixels(episode.query)[0][episode.query_class] == union.sum() > 0
        assert data.image_path(episode.query).is_file() and data.label_file(episode.query) == path
    header = manifest.header
    assert (header.official_episodes, header.seed, header.episodes) == (1000, 0, 60)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert header.lists == f"drawn from instances_val2014.json (sha256 {sha256})"
    assert header.lists_sha256 == sha256
    assert set(header.class_ids) | set(header.dropped_classes) == set(range(fold + 1, 81, 4))


def test_a_method_is_given_frames_and_the_truth_is_stretched_from_one(real_data):
    dataset = PROTOCOL.draw.data(Coco(str(real_data / "coco-mini")))
    data = episodic(dataset, "fssdino", image_size=96, workers=0, episodes=6, drop_small=True)
    for batch in data.test_dataloader():
        query = batch.image_names[int(batch.query[0])]
        truth, number = batch.known_truth(), int(batch.known_truth().classes[0, 0])
        shown = (dataset.label_map(query) == number).astype(np.uint8)
        assert torch.equal(truth.label_maps[0], torch.from_numpy(stretch_truth(shown, 512)))
        assert batch.query_sizes.tolist() == [[512, 512]] and batch.images.shape[1:] == (3, 96, 96)
        support = batch.image_names[int(batch.support[0, 0, 0])]
        expected = frame_labels((dataset.label_map(support) == number).astype(np.uint8), 96)
        assert torch.equal(batch.support_labels[0, 0, 0], torch.from_numpy(expected))
        assert (batch.support_labels == 255).any() and not (truth.label_maps[0] == 255).any()


def refusal(call) -> str:
    with pytest.raises((SettingsError, DataError)) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_it_is_not_made_for_is_refused_in_one_line(real_data, blocks_folder):
    data = PROTOCOL.draw.data(Coco(str(real_data / "coco-mini")))
    few = refusal(lambda: PROTOCOL.manifest(data, Task(0)))
    assert few.startswith("coco fold 0: too few images with large objects of some classes (backpack 1, sports ball 1, ")
    assert "--drop-small" in few
    assert "fssdino is 1-way, found way 2" in refusal(lambda: PROTOCOL.manifest(data, Task(0, way=2)))
    joined = CocoAll(str(real_data / "coco-mini"))
    assert "coco_all has no test of large objects" in refusal(lambda: PROTOCOL.manifest(joined, Task(0)))
    folder = Folder(str(blocks_folder))
    assert "is about COCO's annotated objects; choose the data set coco" in refusal(
        lambda: PROTOCOL.manifest(folder, Task(0))
    )
    for name in ("val2014/none.jpg@1", f"{draw_name(data)}@81", f"{draw_name(data)}@x"):
        assert "expected <image>@<class number>" in refusal(lambda name=name: data.label_map(name))


def draw_name(data: Coco) -> str:
    return LargeObjectTest.find(data).images(0).images_of[1][0].partition("@")[0]


def test_folds_need_the_categories_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "val2014").mkdir()
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations/instances_val2014.json"
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, 1)]
    for given, found in (
        (categories[1:2] + categories[:1] + categories[2:], "80 categories, bicycle"),
        (categories[:9], "9"),
    ):
        file.write_text(json.dumps({"images": [], "annotations": [], "categories": given}))
        words = refusal(lambda: PROTOCOL.manifest(Coco(str(tmp_path)), Task(0)))
        assert f"has {found}" in words and "expected COCO's 80 in their order" in words
    file.write_text(json.dumps({
        "images": [{"id": 5, "file_name": "a.jpg", "height": 60, "width": 60}],
        "annotations": [{"image_id": 5, "category_id": 1, "area": 3000, "segmentation": [[0, 0, 50, 0, 50, 50]]}],
        "categories": categories,
    }))  # fmt: skip
    with pytest.raises(DataError, match="1 of 1 listed images are not in"):
        LargeObjectTest.find(Coco(str(tmp_path))).images(0)
