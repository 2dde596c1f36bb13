"""COCO-20i: label maps painted from annotations, lists that follow from them, and preparing; bad files in a line.

And all classes of COCO in one test: the joined lists, and the episodes of fold -1 as a program would draw them.
"""

import json
import pickle
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from fsbench.base.errors import DataError, SettingsError
from fsbench.cli.main import main
from fsbench.data.dataset import Pair
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.episodes.task import Task
from fsbench.data.image_io import read_label_map
from fsbench.data.segmentations import union_mask
from fsbench.datamodules.datasets.coco import CocoAll
from fsbench.datamodules.datasets.coco.dataset import CLASS_NAMES, MIN_PIXELS, Coco
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.lists.official import read_official
from fsbench.datamodules.prepare.label_images import RENDERED
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_protocol
from tests.data_modules import episodic
from tests.datamodules.builders import save_coco
from tests.datamodules.prepare.archives import packed, prepare, times

PHOTO = "COCO_val2014_{:012d}.jpg".format


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def closed_convex(polygon: list[float], height: int, width: int) -> np.ndarray:
    """Pixels inside or on the border of a convex polygon with integer vertices, by the side of every edge."""
    points = np.array(polygon).reshape(-1, 2)
    y, x = np.mgrid[:height, :width]
    edges = zip(points, np.roll(points, -1, axis=0), strict=True)
    sides = np.array([(bx - ax) * (y - ay) - (by - ay) * (x - ax) for (ax, ay), (bx, by) in edges])
    return np.logical_or((sides >= 0).all(0), (sides <= 0).all(0))


def one_image(tmp_path: Path, *objects: dict[str, Any], size: tuple[int, int] = (60, 80)) -> np.ndarray:
    save_coco(tmp_path, "val2014", {PHOTO(1): (*size, list(objects))})
    return Coco(str(tmp_path)).label_map(f"val2014/{PHOTO(1)}")


@pytest.mark.parametrize(
    ("polygon", "pixels"),
    [
        (box(10, 5, 29, 14), 200),  # the border belongs to the object
        ([10, 5, 30, 5, 10, 25], 231),  # a right triangle of 21 rows
        ([20, 5, 40, 25, 20, 45, 0, 25], 841),  # a diamond: 1 + 3 + … + 41 + … + 1
        (box(-20, -20, 200, 9), 800),  # cut off at the image
    ],
)
def test_polygon_is_filled_with_its_border(tmp_path: Path, polygon: list[float], pixels: int) -> None:
    labels = one_image(tmp_path, {"class": 9, "segmentation": [polygon]})
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels == 9, closed_convex(polygon, 60, 80))
    assert np.count_nonzero(labels) == pixels


def test_vertices_are_truncated_toward_zero(tmp_path: Path) -> None:
    labels = one_image(tmp_path, {"class": 1, "segmentation": [box(-0.9, 3.99, 9.99, 7.5)]})
    np.testing.assert_array_equal(labels == 1, closed_convex(box(0, 3, 9, 7), 60, 80))


def test_polygons_of_an_object_are_joined_later_ids_lie_on_top_and_crowds_nowhere(tmp_path: Path) -> None:
    labels = one_image(
        tmp_path,
        {"class": 3, "id": 70, "segmentation": [box(5, 5, 14, 14)]},
        {"class": 2, "id": 60, "segmentation": [box(0, 0, 9, 9), box(0, 0, 7, 7)]},  # a hole if filled together
        {"class": 1, "id": 80, "segmentation": {"counts": [0, 4800], "size": [60, 80]}, "iscrowd": 1},
    )
    assert (labels[9, 9], labels[4, 4], labels[14, 14]) == (3, 2, 3)
    assert np.bincount(labels.ravel()).tolist() == [4800 - 175, 0, 75, 100]


@pytest.mark.parametrize("compressed", [True, False])
def test_run_length_objects_are_painted(tmp_path: Path, compressed: bool) -> None:
    truth = np.random.RandomState(0).rand(60, 80) < 0.4
    columns = truth.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns, [0]])))
    counts: Any = np.diff(np.concatenate([[0], edges, [len(columns)]])).tolist()
    if compressed:
        counts = coco_mask.encode(np.asfortranarray(truth.astype(np.uint8)))["counts"].decode()
    labels = one_image(tmp_path, {"class": 80, "segmentation": {"counts": counts, "size": [60, 80]}})
    np.testing.assert_array_equal(labels == 80, truth)


@pytest.mark.parametrize(
    "rle",
    [
        {"counts": "", "size": [6, 4]},
        {"counts": [10, 4], "size": [6, 4]},
        {"counts": [-3, 27], "size": [6, 4]},
        {"counts": "\x01", "size": [6, 4]},
        {"counts": [24], "size": [4, 6]},
        {"size": [6, 4]},
    ],
)
def test_damaged_run_lengths_are_an_error(tmp_path: Path, rle: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"unusable run-length mask on COCO_val2014_0+1\.jpg"):
        one_image(tmp_path, {"class": 1, "segmentation": rle}, size=(6, 4))


def shape(number: int, polygon: list[float]) -> dict[str, Any]:
    return {"class": number, "segmentation": [polygon]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folds 0 (classes 1, 5) and 1 (class 2) with objects around the smallest size that counts."""
    exact, short = box(0, 0, 63, 31), box(0, 0, 88, 22)  # 2048 and 89 * 23 = 2047 pixels
    save_coco(
        tmp_path,
        "val2014",
        {
            PHOTO(9): (200, 200, [shape(1, exact), shape(5, box(0, 40, 99, 139))]),
            PHOTO(4): (200, 200, [shape(1, box(0, 0, 99, 49))]),
            PHOTO(6): (200, 200, [shape(1, short), shape(2, box(0, 90, 99, 149))]),
        },
    )
    save_coco(tmp_path, "train2014", {"a.jpg": (200, 200, [shape(5, exact)])})
    return tmp_path


def test_derived_lists_take_images_with_enough_pixels_in_ascending_order(root: Path) -> None:
    data = Coco(str(root))
    assert MIN_PIXELS == 2048
    assert data.test_classes(1)[:3] == [2, 6, 10]
    four, nine = f"val2014/{PHOTO(4)}", f"val2014/{PHOTO(9)}"
    assert pair_list(data, "val", 0).pairs == ((four, 1), (nine, 1), (nine, 5))
    assert pair_list(data, "val", 0).origin == "derived"
    assert pair_list(data, "trn", 1).pairs == (("train2014/a.jpg", 5),)
    assert data.image_path(nine) == root / nine
    assert data.label_file(nine) == root / "annotations" / "instances_val2014.json"


def unparsed(*_: object, **__: object) -> None:
    raise AssertionError("the annotation file was parsed again")


def test_annotations_are_kept_in_the_cache(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pair_list(Coco(str(root)), "val", 0)
    kinds = sorted(path.name.split("-")[0] for path in cache.iterdir())
    assert kinds == ["instances", "pixels"]
    monkeypatch.setattr("fsbench.data.coco_json.content_lists", unparsed)
    again = Coco(str(root))
    assert pair_list(again, "val", 0) == first
    assert np.count_nonzero(again.label_map(f"val2014/{PHOTO(9)}") == 1) == 2048


def alter(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the parsed annotation file in place."""

    def altered(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return altered


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_text(file.read_text()[:-100]), "cannot be used"),
        (lambda file: file.write_text("[1, 2]"), "it has no list of images"),
        (alter(lambda c: c["images"][0].pop("height")), 'images\\[0\\] has no "height"'),
        (alter(lambda c: c["categories"].pop()), "it has 79 categories, not the 80"),
        (alter(lambda c: c["categories"][0].update(name="dragon")), "80 categories, among them 'dragon'"),
        (alter(lambda c: c["annotations"][0].update(category_id=4)), "annotation 1000 has the category id 4"),
        (alter(lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]])), "annotation 1000 has a polygon"),
    ],
)
def test_unusable_annotation_file_is_named(root: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(root / "annotations" / "instances_val2014.json")
    with pytest.raises(DataError, match=rf"annotation file .*instances_val2014\.json .*{message}"):
        pair_list(Coco(str(root)), "val", 0)


def test_what_is_absent_is_named(root: Path) -> None:
    (root / "val2014" / PHOTO(4)).unlink()
    with pytest.raises(DataError, match=rf"1 of 2 listed images are not in .*: val2014/{PHOTO(4)}"):
        pair_list(Coco(str(root)), "val", 0)
    with pytest.raises(DataError, match=r"image val2014/x\.jpg is not in .*instances_val2014\.json"):
        Coco(str(root)).label_map("val2014/x.jpg")


@pytest.mark.parametrize(
    ("fold", "pairs"),
    [(0, 342), *(pytest.param(*more, marks=pytest.mark.slow(3)) for more in ((1, 327), (2, 319), (3, 294)))],
)
def test_painted_membership_agrees_with_the_official_lists(
    real_data: Path, large_lists: Path, fold: int, pairs: int
) -> None:
    """Real annotations of 288 images: the same pairs as the official lists, restricted to these images."""
    lists = real_data / "official-lists"
    data = Coco(str(real_data / "coco-mini"))
    present = {f"{f}/{path.name}" for f in ("train2014", "val2014") for path in data.root.joinpath(f).iterdir()}
    compared: list[Pair] = []
    for split in ("trn", "val", *SIZE_BINS):
        folders = [large_lists / "hsnet"] if split == "trn" else [lists / "hsnet", lists / "emat-size"]
        official = read_official(folders, "coco", split, fold)
        assert official is not None
        expected = {pair for pair in official.pairs if pair[0] in present}
        assert set(pair_list(data, split, fold).pairs) == expected, split
        compared += expected if split in ("trn", "val") else ()
    assert len(compared) == pairs


@pytest.mark.slow(2)
def test_painted_objects_differ_from_those_of_pycocotools_by_the_share_that_kits_state(real_data: Path) -> None:
    data = Coco(str(real_data / "coco-mini"))
    content = json.loads((real_data / "coco-mini/annotations/instances_val2014.json").read_text())
    names = {one["id"]: (f"val2014/{one['file_name']}", one["height"], one["width"]) for one in content["images"]}
    numbers = {number: place for place, number in enumerate(sorted(one["id"] for one in content["categories"]), 1)}
    theirs = {number: np.zeros(size, dtype=np.uint8) for number, (_, *size) in names.items()}
    for item in sorted(content["annotations"], key=lambda item: int(item["id"])):
        if not item["iscrowd"]:
            labels = theirs[item["image_id"]]
            labels[union_mask([item["segmentation"]], *labels.shape)] = numbers[item["category_id"]]
    ours = {number: data.label_map(names[number][0]) for number, labels in theirs.items() if labels.any()}
    different = sum(int((labels != theirs[number]).sum()) for number, labels in ours.items())
    objects = sum(int((labels.astype(bool) | theirs[number].astype(bool)).sum()) for number, labels in ours.items())
    assert 0.012 < different / objects < 0.017  # of these images 1.5 %
    assert "1.3 % of the pixels of objects" in data.label_maps_are


def test_a_class_of_a_plug_in_divides_the_classes_as_its_base(root: Path, voc: Path) -> None:
    assert type("Own", (Coco,), {"name": "own"})(str(root)).test_classes(1) == Coco(str(root)).test_classes(1)
    halves = {"name": "own", "folds": 2}
    assert type("Halves", (Coco,), halves | {"classes_of_fold": 40})(str(root)).test_classes(1) == [*range(2, 81, 2)]
    assert type("Halves", (Pascal,), halves | {"classes_of_fold": 10})(str(voc)).test_classes(1) == [*range(11, 21)]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    for part in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / "VOC2012" / part).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def coco_archives(tmp_path: Path) -> Path:
    square = {"class": 5, "segmentation": [[0, 0, 69, 0, 69, 69, 0, 69]]}
    for split in ("train2014", "val2014"):
        source = tmp_path / f"src_{split}"
        save_coco(source, split, {f"COCO_{split}_1.jpg": (90, 100, [square]), f"COCO_{split}_2.jpg": (90, 80, [])})
        (tmp_path / "notes/annotations").mkdir(parents=True, exist_ok=True)
        (source / f"annotations/instances_{split}.json").rename(tmp_path / f"notes/annotations/instances_{split}.json")
        (source / "annotations").rmdir()
        packed(source, tmp_path / f"archives/{split}.zip")
    (tmp_path / "notes/annotations/captions_val2014.json").write_text("{}")
    packed(tmp_path / "notes", tmp_path / "archives/annotations_trainval2014.zip")
    return tmp_path / "archives"


def test_annotations_of_another_year_are_refused(
    coco_archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "notes/annotations/instances_val2014.json").rename(
        tmp_path / "notes/annotations/instances_val2017.json"
    )
    packed(tmp_path / "notes", coco_archives / "annotations_trainval2014.zip")
    given = ("--from", coco_archives, "--no-lists", "--allow-unverified")
    assert prepare("coco", "--root", tmp_path / "coco", *given) == 2
    assert "has no instances_val2014.json" in capsys.readouterr().err


def test_coco_with_rendered_label_maps(coco_archives: Path, tmp_path: Path) -> None:
    root = tmp_path / "coco"
    arguments = ("coco", "--root", root, "--from", coco_archives, "--no-lists", "--allow-unverified")
    assert prepare(*arguments) == 0
    assert sorted(path.name for path in (root / "annotations").iterdir()) == [
        "instances_train2014.json", "instances_val2014.json",
    ]  # fmt: skip
    data = Coco(str(root))
    assert pair_list(data, "val", 0).pairs == (("val2014/COCO_val2014_1.jpg", 5),)
    assert prepare(*arguments, "--render") == 0
    for name in ("val2014/COCO_val2014_1", "train2014/COCO_train2014_2"):
        labels = read_label_map(root / f"annotations/{name}.png")
        np.testing.assert_array_equal(labels, data.label_map(f"{name}.jpg"))
    before = times(root)
    assert prepare(*arguments, "--render") == 0
    assert times(root) == before
    # other annotations: rendered again
    (root / f"annotations/val2014/{RENDERED}").write_text("0\n")
    (root / "annotations/val2014/COCO_val2014_2.png").write_bytes(b"old")
    assert prepare(*arguments, "--render") == 0
    assert read_label_map(root / "annotations/val2014/COCO_val2014_2.png").max() == 0


def test_label_maps_of_another_program_are_not_removed(coco_archives: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "coco"
    arguments = ("coco", "--root", root, "--from", coco_archives, "--no-lists", "--allow-unverified")
    own = root / "annotations/train2014/COCO_train2014_2.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert prepare(*arguments, "--render") == 2
    assert "train2014 has label maps of another program; expected none" in capsys.readouterr().err
    assert own.read_bytes() == b"mine"


def test_a_test_alone_needs_no_training_part(coco_archives: Path, tmp_path: Path, capsys) -> None:
    """`coco` for validation alone, and `coco_all`, which is checked without the lists of trainings, too."""
    (coco_archives / "train2014.zip").unlink()
    root = tmp_path / "coco"
    arguments = ("--from", coco_archives, "--allow-unverified")
    assert prepare("coco", "--root", tmp_path / "alone", *arguments, "--no-lists", "--validation-only") == 0
    assert sorted(path.name for path in (tmp_path / "alone").iterdir() if path.is_dir()) == ["annotations", "val2014"]
    arguments = ("coco_all", "--root", root, *arguments)
    assert prepare(*arguments, "--lists", tmp_path) == 2
    assert "has none of the 4 lists, such as hsnet/coco/val/fold0.pkl" in capsys.readouterr().err
    assert prepare(*arguments, "--no-lists") == 0
    assert sorted(path.name for path in (root / "annotations").iterdir()) == ["instances_val2014.json"]
    assert not (root / "train2014").exists()
    capsys.readouterr()
    assert main(["data", "check", "coco_all", "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "train2014" not in printed and "trn" not in printed and "list 0-5" not in printed
    assert re.search("list val fold 0 +1 pairs", printed)


def plain_episodes(images_of: dict[int, list[str]], shot: int, count: int) -> list[tuple[int, list[str]]]:
    """Fold -1 of incontext-protocol §3.1 with NumPy's global functions: class, query, supports other than it."""
    state = np.random.get_state()
    np.random.seed(0)
    drawn = []
    for _ in range(count):
        c = np.random.choice(sorted(images_of), 1, replace=False)[0]
        query = np.random.choice(images_of[c], 1, replace=False)[0]
        names = [query]
        while len(names) <= shot:
            name = np.random.choice(images_of[c], 1, replace=False)[0]
            if name != query:
                names.append(name)
        drawn.append((int(c) + 1, [str(name) for name in names]))
    np.random.set_state(state)
    return drawn


@pytest.fixture
def nine(tmp_path: Path) -> Path:
    """Three photos of each of the first nine classes, with lists of four folds."""
    photos = {PHOTO(n): (60, 80, [{"class": n % 9 + 1, "segmentation": [box(5, 5, 75, 55)]}]) for n in range(27)}
    save_coco(tmp_path, "val2014", photos)
    folder = tmp_path / "lists/coco/val"
    folder.mkdir(parents=True)
    for fold in range(4):
        lists = {c: [] for c in range(80)}
        for n in reversed(range(27)):
            if n % 9 % 4 == fold:
                lists[n % 9].append(f"val2014/{PHOTO(n)}")
        (folder / f"fold{fold}.pkl").write_bytes(pickle.dumps(lists))
    return tmp_path


def test_the_lists_of_four_folds_are_one(nine: Path) -> None:
    data = CocoAll(str(nine), allow_unverified_lists=True)
    pairs = pair_list(data, "val", 0)
    own = Coco(str(nine), allow_unverified_lists=True)
    for fold in range(4):
        joined = [pair for pair in pairs.pairs if pair[1] in own.test_classes(fold)]
        assert joined == list(pair_list(own, "val", fold).pairs)
    assert [number for _, number in pairs.pairs] == sorted([*range(1, 10)] * 3)
    assert pairs.origin == "official, unverified"
    assert data.test_classes(0) == [*range(1, 81)] and data.train_classes(0) == []
    assert load_protocol("gfss").draw.data(data) is data and type(load_protocol("gfss").draw.data(own)) is not Coco
    derived = pair_list(CocoAll(str(nine), lists=[]), "val", 0)
    assert sorted(derived.pairs) == sorted(pairs.pairs) and derived.origin == "derived"
    with pytest.raises(DataError, match=r"list .*fold0.pkl was altered"):
        pair_list(CocoAll(str(nine)), "val", 0)


@pytest.mark.slow(2)
def test_official_episodes_are_those_of_the_rule(real_data: Path, tmp_path: Path, monkeypatch) -> None:
    """From the authors' lists, whose photos are not needed for drawing."""
    monkeypatch.setattr(Coco, "require_images", lambda *_: None)
    (tmp_path / "val2014").mkdir()
    save_coco(tmp_path, "val2014", {PHOTO(1): (60, 80, [])})
    data = CocoAll(str(tmp_path), lists=[str(real_data / "official-lists")])
    pairs = pair_list(data, "val", 0)
    assert pairs.origin == "official" and len(pairs.images_of) == 80
    lists = [read_official(data.lists, "coco", "val", fold) for fold in range(4)]
    assert len(pairs.pairs) == sum(len(part.pairs) for part in lists if part)
    images_of = {number - 1: list(names) for number, names in pairs.images_of.items()}
    for shot in (1, 5):
        manifest = load_protocol("incontext").manifest(data, Task(0, shot=shot))
        assert len(manifest.episodes) == 1000 and manifest.header.folds == 1 and len(manifest.class_ids) == 80
        found = [(e.query_class, [e.query, *e.supports[0]]) for e in islice(manifest.episodes, 300)]
        assert found == plain_episodes(images_of, shot, 300)


def test_nothing_that_was_trained_on_coco_is_tested_on_its_own_classes(nine: Path) -> None:
    dataset = CocoAll(str(nine), allow_unverified_lists=True)
    data = episodic(dataset, "incontext", image_size=48, workers=0, episodes=4, drop_small=True)
    trained = {"dataset": "coco", "fold": 2, "protocol": "fscs", "classes": ["bicycle"]}
    with pytest.raises(SettingsError, match="was trained on fold 2 of coco, whose base classes include bicycle"):
        data.check_unseen(trained, "the checkpoint x.ckpt")
    data.check_unseen(trained | {"dataset": "pascal"}, "the checkpoint x.ckpt")
    data.check_unseen(trained | {"classes": [CLASS_NAMES[79]]}, "the checkpoint x.ckpt")  # of which it has no image
    with pytest.raises(SettingsError, match="coco_all has its test part alone, as all classes are novel; found the"):
        _ = data.training_pool
