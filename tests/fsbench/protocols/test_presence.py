"""Presence: images that surely lack a class, halves, the threshold from base classes, scores against plain loops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.fit import mismatches
from fsbench.data.episodes.manifest import Manifest, read_manifest
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.isaid import LABEL_SUFFIX, Isaid
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.paco_part import PacoPart
from fsbench.datamodules.datasets.pascal_part import PascalPart
from fsbench.protocols.draws.presence import KnownAbsence, has_unnamed
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_protocol
from fsbench.records.counts import official_rows, to_frame
from fsbench.scores.presence import best_threshold
from fsbench.scores.trivial import trivial_answers
from tests.datamodules.builders import blocks, save_coco, save_labels, save_photo
from tests.datamodules.datasets.test_isaid import save_patches
from tests.datamodules.datasets.test_object_annotations import part, save, thing
from tests.fsbench.data.test_segmentations import SQUARE
from tests.fsbench.runs import some_header
from tests.fsbench.scores.once import differences_once

TASK = Task(0, episodes=24)


def presence() -> Protocol:
    protocol = load_protocol("presence")
    return protocol


def check_halves(data: SegmentationData, manifest: Manifest) -> None:
    """Each class is asked in pairs; the truth of an episode is what its place says; supports are no views of it."""
    for first, episodes in (
        (0, manifest.official_episodes),
        (len(manifest.official_episodes), [e for e in manifest.episodes if e.calibrates]),
    ):
        numbers = [one.classes[0] for one in episodes]
        assert numbers[::2] == numbers[1::2]
        for episode in episodes:
            shown = data.label_map(episode.query) == data.label_values(episode.query, episode.classes)[0]
            assert shown.any() == ((episode.number - first) % 2 == 0)
            photos = [data.image_path(name) for name in (episode.query, *episode.supports[0])]
            assert len(set(photos)) == len(photos)
            assert (episode.query_class == episode.classes[0]) == shown.any()
    assert mismatches(manifest, data) == []  # each image shows the class that it stands for


def box(number: int, top: int, left: int, side: int = 50, **more: object) -> dict[str, object]:
    low, right = top + side, left + side
    return {"class": number, "segmentation": [[left, top, right, top, right, low, left, low]]} | more


def coco(root: Path) -> Coco:
    """Classes 1 and 5 of fold 0 in test images, 2 and 6 in training images."""
    crowd = box(5, 0, 0, iscrowd=1) | {"segmentation": {"size": [120, 120], "counts": [0, 100, 14300]}}
    val = {f"one{n}.jpg": (120, 120, [box(1, 0, 0)]) for n in range(4)}
    val |= {f"five{n}.jpg": (120, 120, [box(5, 5, 5)]) for n in range(3)}
    val |= {f"z{number}.jpg": (120, 120, [box(number, 0, 0)]) for number in (2, 3, 4)}  # no fold is empty
    val["crowd.jpg"] = (120, 120, [box(1, 60, 60), crowd])
    val["covered.jpg"] = (120, 120, [box(5, 0, 0, 20), box(1, 0, 0, 60)])  # 1 covers all of 5
    val["tiny.jpg"] = (120, 120, [box(5, 60, 60), box(1, 0, 0, 3)])  # too small to be listed for 1
    save_coco(root, "val2014", val)
    train = {f"t{number}{n}.jpg": (120, 120, [box(number, 0, 0)]) for number in (2, 6) for n in range(3)}
    save_coco(root, "train2014", train)
    return Coco(str(root))


def test_a_photo_of_coco_lacks_a_class_without_any_annotation_of_it(tmp_path):
    data = coco(tmp_path)
    known = KnownAbsence.find(data)
    photos = {name: f"val2014/{name}.jpg" for name in ("one0", "five0", "crowd", "covered", "tiny")}
    assert {name: known.surely_lacks(photo, 5) for name, photo in photos.items()} == {
        "one0": True, "five0": False, "crowd": False, "covered": False, "tiny": False,
    }  # fmt: skip
    assert not known.surely_lacks(photos["tiny"], 1) and known.surely_lacks(photos["five0"], 1)
    assert known.is_whole(photos["crowd"], 1) and not known.is_whole(photos["crowd"], 5)
    manifest = presence().manifest(data, Task(0, episodes=24, drop_small=True))
    check_halves(data, manifest)
    assert manifest.header.class_ids == [1, 5] and manifest.header.empty
    assert any(
        "no object of the class is annotated, and no crowd; no" in note
        for note in presence().rule_notes(manifest.header, {})
    )
    calibrating = [one for one in manifest.episodes if one.calibrates]
    assert len(calibrating) == 24 and manifest.header.calibration_ids == [2, 6]
    assert all(one.query.startswith("train2014/") for one in calibrating)
    assert manifest.header.calibration_images == "training images"
    for absent in (one for one in manifest.official_episodes[1::2] if one.classes == (5,)):
        assert absent.query.startswith("val2014/one")


def test_an_episode_follows_from_the_seed_and_its_place(tmp_path):
    data = coco(tmp_path)
    task = Task(0, shot=2, episodes=24, drop_small=True)
    whole = presence().manifest(data, task)
    few = presence().manifest(data, Task(0, shot=2, episodes=7, drop_small=True))
    assert few.official_episodes == whole.official_episodes[:7]
    other = presence().manifest(data, Task(0, shot=2, episodes=24, drop_small=True, seed=1))
    assert other.official_episodes != whole.official_episodes
    path = tmp_path / "manifest.jsonl.gz"
    whole.write(path)
    assert read_manifest(path) == Manifest(whole.entries, whole.episodes)
    drawn = presence().manifest(data, Task(0, shot=1, episodes=8, drop_small=True, draws=3))
    assert len(drawn.official_episodes) == 8 and sum(one.calibrates for one in drawn.episodes) == 8
    assert [one.number for one in drawn.episodes] == list(range(32))


def test_classes_that_cannot_be_asked_are_named_or_left_out(tmp_path):
    data = coco(tmp_path)
    with pytest.raises(
        DataError, match=r"no episodes about some classes \(.*dog: 0 of 2 images that show it.*--drop-small"
    ):
        presence().manifest(data, Task(0, episodes=4))
    manifest = presence().manifest(data, Task(0, shot=4, episodes=4, drop_small=True))
    assert manifest.header.class_ids == [1] and 5 in manifest.header.dropped_classes


def test_void_far_from_objects_may_be_anything():
    assert not has_unnamed(blocks(60, 60, (255, 8, 8, 14, 14), (3, 10, 10, 10, 10)))  # a border
    assert has_unnamed(blocks(60, 60, (3, 0, 0, 10, 10), (255, 40, 40, 8, 8)))
    assert has_unnamed(blocks(20, 20, (255, 0, 0, 4, 4))) and not has_unnamed(blocks(20, 20))


def test_patches_of_isaid_without_training_images_calibrate_on_other_test_images(tmp_path):
    shown = {f"P{number}{n}": [number] for number in (1, 2, 7, 12) for n in range(5)}
    data = Isaid(str(save_patches(tmp_path, shown)))
    for name in (name for name in shown if not name.endswith("4")):
        labels = blocks(12, 16, (int(name[1:-1]), 0, 0, 4, 8), (255, 4, 0, 2, 8))
        save_labels(tmp_path / f"val/semantic_png/{name}{LABEL_SUFFIX}", labels)
    manifest = presence().manifest(data, Task(0, episodes=8, drop_small=True))
    check_halves(data, manifest)
    assert manifest.header.calibration_images == "test images" and manifest.header.calibration_ids == [7, 12]
    absent = {one.query for one in manifest.official_episodes[1::2]}
    assert absent and not [name for name in absent if name.endswith("4")]  # whose void reaches far
    test = {name for e in manifest.official_episodes for name in (e.query, *e.supports[0])}
    assert not test & {name for e in manifest.episodes if e.calibrates for name in (e.query, *e.supports[0])}


def lvis(root: Path, *, contradicts: bool = False) -> Lvis:
    """Category 70 is novel in fold 0, 5 to 13 are the base ones; photo n is made sure of for a few alone."""
    names = [f"val2017/{number:012d}.jpg" for number in range(12)]
    for name in names:
        save_photo(root / "coco" / name, 6, 8)
    images = {name: {"annotations": [{"segmentation": SQUARE}]} for name in names}
    content = {70: dict(list(images.items())[:4])} | {key: dict(list(images.items())[4:]) for key in range(5, 14)}
    save(root / "lvis_val.pkl", content)
    stated = [
        {
            "coco_url": f"http://images.cocodataset.org/{name}",
            "neg_category_ids": [70] if number in (5, 6, 7) else [5, 6] if number < 2 else [],
            "not_exhaustive_category_ids": [70] if number in (0, 7) else [],
        }
        for number, name in enumerate(names)
    ]
    if contradicts:
        stated[1]["neg_category_ids"] = [70]
    save(root / "lvis_v1_val.json", {"images": stated, "annotations": [{"segmentation": SQUARE, "id": 1}]})
    return Lvis(str(root))


def test_a_photo_of_lvis_lacks_what_its_annotators_made_sure_of(tmp_path):
    data = lvis(tmp_path)
    manifest = presence().manifest(data, TASK)
    check_halves(data, manifest)
    shown = {one.query for one in manifest.official_episodes[::2]}
    absent = {one.query for one in manifest.official_episodes[1::2]}
    assert shown == {f"val2017/{number:012d}.jpg@70" for number in (1, 2, 3)}  # of photo 0 not all is annotated
    assert absent == {f"val2017/{number:012d}.jpg@5" for number in (5, 6)}
    assert manifest.header.calibration_ids == [] or manifest.header.calibration_images == "test images"
    (tmp_path / "lvis_v1_val.json").unlink()
    with pytest.raises(DataError, match=r"lvis_v1_val.json does not exist; expected LVIS's own file"):
        presence().manifest(Lvis(str(tmp_path)), TASK)
    with pytest.raises(DataError, match=r"says that val2017/000000000001.jpg lacks the category 70, of which"):
        presence().manifest(lvis(tmp_path / "other", contradicts=True), TASK)


def test_base_classes_are_those_that_the_test_leaves_over_whatever_shots_are_kept(tmp_path):
    """A category with two photos is in tests of one shot, and moves the folds of all behind it."""
    photos = [f"val2017/{number:012d}.jpg" for number in range(27)]
    shown = {1: photos[:2]} | {key: photos[key % 20 : key % 20 + 6] for key in range(2, 24)}
    content = {key: {name: {"annotations": [{"segmentation": SQUARE}]} for name in own} for key, own in shown.items()}
    stated = [
        {
            "coco_url": f"http://images.cocodataset.org/{name}",
            "neg_category_ids": [key for key, own in shown.items() if name not in own],
            "not_exhaustive_category_ids": [],
        }
        for name in photos
    ]
    for name in photos:
        save_photo(tmp_path / "coco" / name, 6, 8)
    save(tmp_path / "lvis_val.pkl", content)
    save(tmp_path / "lvis_v1_val.json", {"images": stated, "annotations": []})
    for shot, nested_in, novel in ((1, None, [1, 11]), (3, None, [2, 12]), (1, 3, [2, 12])):
        task = Task(0, shot=shot, nested_in=nested_in, episodes=6, drop_small=True)
        header = presence().manifest(Lvis(str(tmp_path)), task).header
        assert sorted([*header.class_ids, *header.dropped_classes]) == novel
        assert header.calibration_ids and not set(header.calibration_ids) & set(header.class_ids)


def pascal_part(root: Path) -> PascalPart:
    """Cats with a head, cats whose leg alone is annotated, and one whose box meets a head's."""
    folder = root / "VOC2010"
    head = part("head", {"size": [6, 8], "counts": "06Z1"})  # the first column
    leg = part("leg", {"size": [6, 8], "counts": "06Z1"})
    objects = {name: [thing("cat", [0, 0, 4, 6], head)] for name in "abc"}
    objects |= {name: [thing("cat", [0, 0, 8, 6], leg)] for name in "de"}
    objects["f"] = [thing("cat", [0, 0, 6, 6], leg), thing("cat", [0, 0, 4, 6], head)]
    objects["g"] = [thing("cat", [0, 0, 6, 6], leg), thing("cat", [4, 0, 8, 6])]  # nothing of the second is known
    objects["i"] = [thing("cat", [0, 0, 4, 6], head)] * 6  # views of one photo
    objects["h"] = [thing("cat", [4, 0, 8, 6], head)]  # whose box has no pixel of it
    for name, own in objects.items():
        save_photo(folder / "JPEGImages" / f"{name}.jpg", 6, 8)
        save(folder / f"Annotations_Part_json_merged_part_classes/{name}.json", {"object": own})
    parts = {"head": {"train": ["x"], "val": [*"abcfhi"]}, "leg": {"train": ["x"], "val": [*"defg"]}}
    save(folder / "all_obj_part_to_image.json", {"animals": {"object": {"cat": {"part": parts}}}})
    return PascalPart(str(root))


def test_the_box_of_an_object_lacks_a_part_that_none_in_it_shows(tmp_path):
    data = pascal_part(tmp_path)
    manifest = presence().manifest(data, TASK)
    check_halves(data, manifest)
    assert manifest.header.class_ids == [1, 2] and manifest.header.calibration_ids == []
    heads = [one for one in manifest.official_episodes if one.classes == (1,)]
    assert {one.query for one in heads[1::2]} == {"d@0@leg", "e@0@leg"}
    views = {"a@0@head", "b@0@head", "c@0@head", "f@1@head", *(f"i@{place}@head" for place in range(6))}
    assert {name for one in heads for name in (one.supports[0])} <= views
    drawn = presence().manifest(data, Task(0, shot=2, episodes=8, draws=4))
    for one in drawn.episodes:
        assert len({data.image_path(name) for name in (one.query, *one.supports[0])}) == 3
    assert len({one.supports for one in drawn.episodes if one.classes == (1,)}) > 4


def test_a_data_set_that_shows_one_class_of_an_image_is_refused():
    with pytest.raises(
        SettingsError, match=r"which images lack a class.*expected this protocol with the data set coco"
    ):
        presence().manifest(object.__new__(PacoPart), TASK)


def rows(
    number: int, score: float, *, present: bool, gt: int = 0, tp: int = 0, pred: int = 0, cls: int = 1
) -> list[dict[str, object]]:
    """Both rows of an episode of 100 pixels, 4 of them void."""
    own = {"tp": tp, "pred": pred, "gt": gt, "pred_void": min(pred, 1), "void": 4, "valid": 96}
    shared = {"present": present, "decided": score >= 0.5, "score": score, "rom": 0.0, "rum": 0.0}
    return [{"episode": number, "slot": slot, "class_id": cls * slot, **own, **shared} for slot in (0, 1)]


def some_run(count: int = 40, seed: int = 0) -> tuple[Manifest, list[dict[str, object]]]:
    """A run of two classes with ties among its scores, and 20 episodes about the base classes 3 and 4."""
    rng = np.random.default_rng(seed)
    episodes, table = [], []
    for number in range(count + 20):
        calibrates, present = number >= count, number % 2 == 0
        cls = (3 if calibrates else 1) + number // 2 % 2
        gt, pred = int(rng.integers(5, 60)) * present, int(rng.integers(0, 60))
        score = round(float(np.clip(0.3 + 0.2 * present + rng.normal(0, 0.2), 0, 1)), 1)
        episodes.append(Episode(number, f"q{number % 11}", cls, (cls,), (("s",),), calibrates=calibrates))
        table += rows(number, score, present=present, gt=gt, tp=min(gt, pred) // 2, pred=pred, cls=cls)
    header = some_header(
        protocol="presence", class_ids=[1, 2], class_names={"1": "a", "2": "b"}, seed=0, requested=count,
        calibration_ids=[3, 4], calibration_images="training images",
    )  # fmt: skip
    return Manifest(header.model_dump(), tuple(episodes)), table


def test_scores_are_those_of_plain_loops():
    manifest, table = some_run()
    every = to_frame(table, manifest)
    frame = official_rows(every)
    assert len(frame) == 80 and "calibrates" not in frame.columns
    ways = frame.filter(pl.col("slot") == 1).to_dicts()
    scores = presence().statistics(frame, manifest.header).scores()
    truth, score = [row["present"] for row in ways], [row["score"] for row in ways]
    assert scores["AUROC"] == pytest.approx(100 * roc_auc_score(truth, score))
    assert scores["accuracy"] == pytest.approx(100 * np.mean([row["present"] == row["decided"] for row in ways]))
    absent = [row["pred"] / row["valid"] for row in ways if not row["present"]]
    assert scores["false-alarm-area"] == pytest.approx(100 * np.mean(absent))
    for name, kept in (("mIoU-present", [row for row in ways if row["present"]]), ("mIoU", ways)):
        by_class = []
        for number in (1, 2):
            own = [row for row in kept if row["class_id"] == number]
            hits = sum(row["tp"] for row in own)
            by_class.append(hits / (sum(row["pred"] + row["gt"] for row in own) - hits))
        assert scores[name] == pytest.approx(100 * np.mean(by_class))
    assert "FB-IoU-classes" not in scores and set(presence().default_metrics) <= set(scores)
    counting = replace(presence().counting, void="background")
    with_void = counting.statistics(frame, manifest.header, presence().metrics).scores()
    absent = [(row["pred"] + row["pred_void"]) / 100 for row in ways if not row["present"]]
    assert with_void["false-alarm-area"] == pytest.approx(100 * np.mean(absent))
    shown = (frame["slot"] > 0).to_numpy() & frame["present"].to_numpy()
    of_shown = presence().subset_statistics(frame, shown, manifest.header).scores()
    assert of_shown["mIoU-present"] == pytest.approx(scores["mIoU-present"])
    assert not {"AUROC", "false-alarm-area"} & set(of_shown)
    floor = presence().statistics(trivial_answers(frame)["(all foreground)"], manifest.header).scores()
    assert floor["AUROC"] == 50 and floor["false-alarm-area"] == 100


def test_two_methods_are_compared_by_ranks_whatever_the_scale_of_their_scores():
    manifest, table = some_run()
    _, other = some_run(seed=5)
    own, theirs = (official_rows(to_frame(one, manifest)) for one in (table, other))
    scaled = own.with_columns(pl.col("score") ** 3 / 7)
    first, *others = ([presence().statistics(frame, manifest.header)] for frame in (own, scaled, theirs))
    same, found = (differences_once(first, other)["AUROC"] for other in others)
    assert same.value == 0 and same.scope == "identical"
    assert found.low < found.value < found.high and 0 < found.p <= 1


def test_the_threshold_is_the_lowest_of_the_best_by_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(30):
        present, score = rng.random(20) < 0.4, rng.integers(0, 8, 20) / 8
        if not 0 < present.sum() < 20:
            continue

        def balanced(threshold, present=present, score=score):
            said = score >= threshold
            return said[present].mean() + (~said[~present]).mean()

        tried = [0, *(np.unique(score)[1:] - 1 / 16), 2]
        found = best_threshold(present, score)
        assert balanced(found) == pytest.approx(max(map(balanced, tried)))
        assert all(balanced(one) < balanced(found) - 1e-9 for one in tried if one < found)


def test_the_calibrated_answer_decides_by_base_classes_alone():
    manifest, table = some_run()
    every = to_frame(table, manifest)
    answer = presence().counting.further_answers(official_rows(every), every, manifest.header)["calibrated"]
    base = every.filter(pl.col("class_id") > 2)
    threshold = best_threshold(base["present"].to_numpy(), base["score"].to_numpy())
    assert f"{threshold:.4g}" in answer.words and "20 episodes about base classes (training images)" in answer.words
    ways = base.filter(pl.col("slot") == 1).to_dicts()
    right = 100 * np.mean([(row["score"] >= threshold) == row["present"] for row in ways])
    assert f"{right:.1f} % of which it decides rightly" in answer.words
    for row, old in zip(answer.frame.to_dicts(), official_rows(every).to_dicts(), strict=True):
        assert row["decided"] == (old["score"] >= threshold)
        assert (row["tp"], row["pred"]) == ((old["tp"], old["pred"]) if row["decided"] else (0, 0))
    assert presence().counting.further_answers(official_rows(every), official_rows(every), manifest.header) == {}


def test_a_choice_of_episodes_says_why_it_has_no_second_threshold():
    own = some_header(protocol="presence", requested=40)
    for header, reason in ((own, "no base classes"), (some_header(**vars(own) | {"selection": {}}), "were chosen")):
        (note,) = (note for note in presence().rule_notes(header, {}) if "no threshold is calibrated" in note)
        assert reason in note
