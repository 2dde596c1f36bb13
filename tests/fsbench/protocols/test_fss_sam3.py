"""The test of SAM 3 on a canvas: its episodes, replaced ones, boxes, scores and failures (sam3-canvas.md §4 to §6)."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.core.needs import Needs
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.coco import Coco, CocoAll
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES
from fsbench.datamodules.datasets.coco.protocols import CocoBoxes
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.methods.sam3_canvas import SAM3Canvas, draw_canvas
from fsbench.networks.backbones.sam2_sam3 import Detections, Sam3NetConfig
from fsbench.protocols.draws import boxes
from fsbench.protocols.draws.boxes import BoxPools, BoxTest, loaded_episodes, own_fold, pixel_pools
from fsbench.protocols.reading import load_protocol
from fsbench.results.measuring.measures import Measures
from fsbench.results.measuring.statistics import whole_statistics
from fsbench.scores.confusion import COUNTS
from tests.data_modules import episodic
from tests.datamodules.builders import blocks, save_labels, save_names, save_pairs
from tests.fsbench.runs import some_header

PROTOCOL = load_protocol("fss_sam3")


def test_pools_are_of_any_pixel_and_of_more_than_1000():
    pixels = {"b": {1: 1, 2: 1001}, "a": {1: 1001, 2: 1000, 0: 9}, "c": {1: 1002}}
    pools = pixel_pools(pixels, (1, 2))
    assert pools == BoxPools({1: ["b", "a", "c"], 2: ["b", "a"]}, {1: ["a", "c"], 2: ["b"]})
    assert (pools.usable([2, 1], 1), pools.usable([2, 1], 2)) == ([1], [])


class Holes(BoxTest):
    """Cannot load episodes about the query "x", and draws a number for each that it loads."""

    def __init__(self):
        self.data = type("Data", (), {"name": "holes"})()

    def load(self, episode: Episode, rng: random.Random) -> Episode | None:
        if episode.query == "x":
            return None
        return Episode(episode.number, f"{episode.query}{rng.randrange(100)}", 1, (1,), (("s",),))


def named(names: str) -> list[Episode]:
    return [Episode(i, name, 1, (1,), (("s",),)) for i, name in enumerate(names)]


def test_an_unusable_episode_is_replaced_by_the_next_which_keeps_its_turn():
    rng, numbers = random.Random(3), random.Random(3)
    found = list(loaded_episodes(Holes(), named("axxbx"), rng))
    drawn = [numbers.randrange(100) for _ in range(5)]
    assert [episode.query for episode, _ in found] == [f"{n}{d}" for n, d in zip("abbba", drawn, strict=True)]
    assert [is_replaced for _, is_replaced in found] == [False, True, True, False, True]
    assert [episode.number for episode, _ in found] == list(range(5))
    with pytest.raises(DataError, match="holes: none of 2 episodes can be loaded"):
        list(loaded_episodes(Holes(), named("xx"), rng))


def test_a_fold_alone_goes_on_where_the_folds_before_it_ended():
    folds = [named("abxc"), named("xde"), named("fgx")]
    rng = random.Random(9)
    expected = [[episode for episode, _ in loaded_episodes(Holes(), fold, rng)] for fold in folds]
    assert own_fold(Holes(), folds, 3, 9) == (expected[2], 1)
    assert own_fold(Holes(), folds[:2], 2, 9) == (expected[1][:2], 1)


def header(**entries: object):
    return some_header(**({"protocol": "fss_sam3", "dataset": "pascal", "class_ids": [1, 2, 3]} | entries))


def frame_of(*episodes: tuple[int, int, int, bool]) -> pl.DataFrame:
    """Return a count table of (class, intersection, predicted, failed) with 40 true of 100 pixels and 10 of void."""
    rows = []
    for number, (class_id, inside, predicted, failed) in enumerate(episodes):
        counts = dict(zip(COUNTS, (inside, predicted, 40, 5, 10, 100), strict=True))
        row = {"episode": number, "present": True, "decided": predicted > 0, "score": 1.0, "query": str(number)}
        rows += [row | counts | {"slot": s, "class_id": c, "failed": failed} for s, c in ((0, 0), (1, class_id))]
    return pl.DataFrame(rows)


@pytest.mark.parametrize("failed", [False, True])
def test_the_mean_is_over_classes_that_occurred_and_void_is_background(failed):
    """An episode in which the method failed counts as any other."""
    scores = PROTOCOL.statistics(frame_of((1, 20, 30, False), (3, 0, 0, failed)), header()).scores()
    assert scores["mIoU"] == pytest.approx(100 * (20 / (30 + 5 + 40 - 20) + 0) / 2)


def test_boundaries_are_counted_over_the_classes_that_occurred(monkeypatch):
    """Half of every boundary is found, of two classes of three that the test has."""
    frame = frame_of((1, 20, 30, False), (3, 20, 30, False))
    record = SimpleNamespace(protocol=PROTOCOL, header=header())
    found = whole_statistics(record, frame, Measures({"boundary": np.tile([1, 2], (len(frame), 1))}))
    assert found.only(("boundary-IoU",)).scores()["boundary-IoU"] == pytest.approx(50)


def test_rules_are_told_where_they_change_a_figure():
    assert PROTOCOL.rule_notes(header(seed=123), {}) == []
    assert "test seed 0 instead of the protocol's 123" in PROTOCOL.rule_notes(header(seed=0), {})[0]
    assert PROTOCOL.rule_notes(header(seed=0, dataset="coco"), {}) == []
    (line,) = PROTOCOL.rule_notes(header(seed=123, replaced_episodes=4), {})
    assert line == "4 episodes could not be loaded, and the next ones stand in for them"


def voc(root: Path, objects: bool) -> Path:
    """Write six images of class 1 with 1600 pixels, of which the last has no object of it."""
    folder = root / "VOC2012"
    maps = {f"2007_00000{i}": blocks(60, 80, (1, 0, i, 40, 40)) for i in range(6)}
    save_pairs(folder, maps)
    save_names(folder, val=sorted(maps))
    for name, labels in maps.items() if objects else ():
        save_labels(folder / f"SegmentationObject/{name}.png", labels * 3 * (name[-1] != "5"))
    return root


@pytest.mark.parametrize("objects", [True, False])
def test_pascal_has_boxes_of_objects_and_replaces_supports_without_one(tmp_path, objects):
    dataset = Pascal(str(voc(tmp_path, objects)))
    manifest = PROTOCOL.manifest(dataset, Task(0, episodes=40))
    used = {name for episode in manifest.episodes for name in episode.supports[0]}
    assert ("2007_000005" in used) != objects
    assert (manifest.header.protocol_entries["replaced_episodes"] > 0) == objects
    assert manifest.header.seed == 123 and manifest.header.class_ids == [1]
    assert manifest.header.dropped_classes == [2, 3, 4, 5]
    assert ("SegmentationObject" in manifest.header.lists) and ("derived" in manifest.header.lists) != objects
    data = episodic(dataset, "fss_sam3", image_size=32, workers=0, episodes=4)
    data.needs = Needs(hints=frozenset({"photos", "boxes", "class names"}))
    for batch in data.test_dataloader():
        (hints,) = batch.hints
        place = float(batch.image_names[int(batch.support[0, 0, 0])][-1])
        assert hints.boxes[0, 0].tolist() == [place, 0.0, *((39.0, 39.0) if objects else (40.0, 40.0))]
        assert hints.class_names == ("aeroplane",) and hints.query.shape == (3, 60, 80)
        assert batch.without_truth().hints is batch.hints
        assert batch.query_sizes.tolist() == [[60, 80]]


def coco(root: Path) -> Path:
    """Write annotations of class 1 in eight images: two objects each, the second a crowd in every fourth."""
    (root / "annotations").mkdir(parents=True)
    (root / "val2014").mkdir()
    images, annotations = [], []
    for i in range(8):
        number = 7919 * (i + 1) % 1000
        images.append({"id": number, "file_name": f"{i}.jpg", "height": 60, "width": 80})
        Image.fromarray(np.full((60, 80, 3), 30 * i, np.uint8)).save(root / f"val2014/{i}.jpg")
        for place, (x, area) in enumerate(((0, 1600), (40, 1200))):
            crowd = int(place == 1 and i % 4 == 0)
            nothing = {"size": [60, 80], "counts": [4800]}
            polygon = nothing if i == 7 else [[x, 0, x + 40, 0, x + 40, 40, x, 40]]
            annotations.append({
                "id": 10 * i + place, "image_id": number, "category_id": 1, "area": area, "iscrowd": crowd,
                "bbox": [x, 0, 40, 40], "segmentation": nothing if crowd else polygon,
            })  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/instances_val2014.json").write_text(json.dumps(content))
    return root


def test_coco_draws_an_object_of_each_support_and_crowds_are_no_truth(tmp_path):
    data = Coco(str(coco(tmp_path / "coco")))
    manifest = PROTOCOL.manifest(data, Task(0, shot=2, episodes=60))
    view = PROTOCOL.draw.data(data)
    assert manifest.header.seed == 0 and manifest.header.class_ids == [1]
    assert manifest.header.protocol_entries["replaced_episodes"] > 0  # the last image has no pixel of the class
    ids = {number: image["id"] for number, image in enumerate(json.loads((
        tmp_path / "coco/annotations/instances_val2014.json").read_text())["images"])}  # fmt: skip
    order = [f"val2014/{place}.jpg" for number in set(ids.values()) for place in ids if ids[place] == number]
    assert CocoBoxes(data).pools().targets[1] == order
    drawn = set()
    for episode in manifest.episodes:
        assert episode.query.endswith(".jpg@1") and not episode.query.startswith("val2014/7")
        for name in episode.supports[0]:
            photo, _, annotation = name.partition("@1:")
            place = int(photo[8])
            assert int(annotation) in ((10 * place,) if place % 4 == 0 else (10 * place, 10 * place + 1))
            drawn.add(annotation)
            box = CocoBoxes(view).box(name, 1, view.label_map(name))
            assert box == (40.0 * (int(annotation) % 10), 0.0, 40.0, 40.0)
        truth = view.label_map(episode.query)
        assert truth.sum() == (1600 if int(episode.query[8]) % 4 == 0 else 3200)
    assert len(drawn) > 8
    with pytest.raises(DataError, match=r"is not in .*instances_val2014\.json; expected <image>@<class number>"):
        view.label_map("val2014/0.jpg@81")
    with pytest.raises(DataError, match=r"is not in .*instances_val2014\.json"):
        CocoBoxes(view).box("val2014/0.jpg@1:999", 1, np.ones((60, 80), bool))
    again = PROTOCOL.manifest(data, Task(0, shot=2, episodes=5))
    assert again.episodes == manifest.episodes[:5]
    file = tmp_path / "coco/annotations/instances_val2014.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["image_id"] = 1
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is on image 1, which is not listed"):
        CocoBoxes(Coco(str(tmp_path / "coco"))).pools()


def test_any_data_set_with_label_maps_has_the_test(blocks_folder, monkeypatch):
    monkeypatch.setattr(boxes, "SMALLEST_SUPPORT", 20)  # the images are small
    dataset = Folder(str(blocks_folder))
    manifest = PROTOCOL.manifest(dataset, Task(0, episodes=12))
    assert manifest.header.lists == "derived" and len(manifest.episodes) == 12
    assert manifest == PROTOCOL.manifest(dataset, Task(0, episodes=12))
    other = PROTOCOL.manifest(dataset, Task(0, episodes=12, seed=7))
    assert other.episodes != manifest.episodes and other.header.seed == 7
    monkeypatch.setattr(BoxTest, "draws_objects", True)
    usable = BoxPools.usable
    gone = dataset.test_classes(0)
    monkeypatch.setattr(BoxPools, "usable", lambda of, ids, shot: [] if list(ids) == gone else usable(of, ids, shot))
    with pytest.raises(DataError, match="fold 0 has no class with a query and 2 images of more than 20 pixels"):
        PROTOCOL.manifest(dataset, Task(1, episodes=2))
    monkeypatch.setattr(BoxPools, "usable", usable)
    with pytest.raises(DataError, match="has no class with a query and 91 images of more than 20 pixels"):
        PROTOCOL.manifest(dataset, Task(0, shot=90))
    data = episodic(dataset, "fss_sam3", image_size=32, workers=0)
    with pytest.raises(SettingsError, match="the protocol fss_sam3 has no training part"):
        data.train_dataloader()
    with pytest.raises(SettingsError, match="the protocol fss_sam3 has no training part"):
        assert data.training_lists  # of a run's identity, which comes first


@pytest.mark.parametrize("protocol", ["fssdino", "bam"])
def test_padded_images_have_no_place_for_photos(real_data, protocol):
    dataset = Coco(str(real_data / "coco-mini"))
    data = episodic(dataset, protocol, image_size=64, workers=0, episodes=1, drop_small=True)
    data.needs = Needs(hints=frozenset({"photos", "boxes", "class names"}))
    (batch,) = data.test_dataloader()
    (hints,) = batch.hints
    assert (hints.query, hints.supports, hints.boxes) == (None, None, None) and len(hints.class_names) == 1


def test_an_answer_on_the_canvas_lies_over_the_padded_query(real_data, monkeypatch):
    """What is found in the lower half of the query's part is the lower half of the padded square."""
    pytest.importorskip("transformers")
    dataset = Coco(str(real_data / "coco-mini"))
    data = episodic(dataset, "bam", image_size=64, workers=0, episodes=8, drop_small=True)
    found = SAM3Canvas(Sam3NetConfig("sam3_demo", "random:1")).eval()
    data.needs = found.needs
    masks = torch.full((1, 112, 112), -9.0)
    x, y, width, height = found.slots(1)[-1]
    masks[:, y + height // 2 : y + height, x : x + width] = 9
    monkeypatch.setattr(found, "detect", lambda *_: Detections(torch.tensor([0.9]), masks, torch.zeros(1, 4)))
    wide = 0
    for batch in data.test_dataloader():
        rows, columns = batch.truth.label_maps[0].shape
        (side, _), query = batch.query_sizes[0].tolist(), batch.images[int(batch.query[0])]
        assert side == max(rows, columns)
        photo, ways = found.ask(batch)
        shown = found.paste(photo, found.join(next(ways))).canvas[y : y + height, x : x + width]
        padded = query.round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(shown, draw_canvas([padded], [(0, 0, width, height)], 112)[:height, :width])
        answer = data.protocol.view.fit(found(batch.without_truth()).label_map, (rows, columns))
        part = answer.float().mean(1)
        assert set(part.tolist()) <= {0.0, 1.0} and part.sum() == pytest.approx(rows - side * 22 / 45, abs=1)
        wide += rows < columns
    assert wide


def test_all_classes_at_once_have_the_test_of_label_maps(real_data):
    joined = CocoAll(str(real_data / "coco-mini"))
    assert type(BoxTest.of(joined)) is BoxTest  # that of label maps
