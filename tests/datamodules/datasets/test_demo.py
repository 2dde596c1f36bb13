"""The demo: its scenes are the same everywhere and of all sizes; on disk it is complete or absent, and balanced."""

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.datamodules.datasets import demo
from fsbench.datamodules.datasets.demo import dataset
from fsbench.datamodules.datasets.demo.classes import DEMO_CLASSES, FOLD, PRETRAIN_START, object_class
from fsbench.datamodules.datasets.demo.scenes import VOID, draw_scene
from fsbench.datamodules.datasets.demo.shapes import REACH, SHAPES, unit_area
from tests.datamodules.datasets.labelled_images import save

TRAIN, VAL = 14, 10
FEW = {"train": 3, "val": 2}
"""Images where it does not matter what they show."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "demo"
    dataset.drawn_dataset(0, TRAIN, VAL).make(root)
    return root


def pixels_digest(root: Path) -> str:
    """Of the label maps; JPEG bytes depend on the version of the encoder."""
    digest = hashlib.sha256()
    for path in sorted((root / "SegmentationClassAug").iterdir()):
        digest.update(np.asarray(Image.open(path)).tobytes())
    return digest.hexdigest()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_same_seed_same_dataset(root: Path, tmp_path: Path) -> None:
    for seed, same in ((0, True), (1, False)):
        dataset.drawn_dataset(seed, TRAIN, VAL).make(tmp_path / str(seed))
        assert (pixels_digest(tmp_path / str(seed)) == pixels_digest(root)) is same


def test_layout_is_that_of_voc(root: Path) -> None:
    train = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    val = (root / "ImageSets/Segmentation/val.txt").read_text().split()
    assert (len(train), len(val)) == (TRAIN, VAL)
    assert not set(train) & set(val)
    assert files(root / "JPEGImages") == {f"{name}.jpg" for name in train + val}
    assert files(root / "SegmentationClassAug") == {f"{name}.png" for name in train + val}
    mask_file, image_file = root / "SegmentationClassAug" / f"{train[0]}.png", root / "JPEGImages" / f"{train[0]}.jpg"
    with Image.open(mask_file) as mask, Image.open(image_file) as image:
        assert mask.mode == "P"
        assert mask.getpalette()[3 * 15 : 3 * 16] == [192, 128, 128]  # VOC's colour of class 15
        assert mask.size == image.size


def test_every_class_has_enough_images_and_scenes_show_several() -> None:
    for seed, count, least in ((0, dataset.TRAIN, 45), (1, dataset.VAL, 25)):
        scenes = dataset.scene_classes(seed, count)
        shown = np.bincount([number for scene in scenes for number in set(scene)], minlength=DEMO_CLASSES + 1)[1:]
        assert shown.min() >= least
        assert shown.max() - shown.min() <= 1
        assert np.mean([len(set(scene)) > 1 for scene in scenes]) > 0.5


def test_absent_and_stale_folders_are_generated_and_current_ones_kept(tmp_path: Path) -> None:
    root = tmp_path / "new" / "demo"
    demo.Demo(str(root), **FEW)
    description = root / dataset.DESCRIPTION
    made = description.stat().st_mtime_ns
    demo.Demo(str(root), **FEW)
    assert description.stat().st_mtime_ns == made
    assert files(tmp_path / "new") == {"demo"}


@pytest.mark.parametrize(("own", "other"), [("seed 0", "seed 7"), ("version 1", "version 0"), ("3 train", "4 train")])
def test_a_demo_made_otherwise_stays_with_all_that_is_in_it(tmp_path: Path, own: str, other: str) -> None:
    """The new one is made beside it, once."""
    root, beside = tmp_path / "demo", tmp_path / "demo-1-0-3-2"
    demo.Demo(str(root), **FEW)
    description = root / dataset.DESCRIPTION
    description.write_text(description.read_text().replace(own, other))
    (root / "notes.txt").write_text("my own")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert not demo.Demo.is_drawn(str(root), **FEW)
    data = demo.Demo(str(root), **FEW)
    assert data.image_path("demo_000000").parent.parent == beside
    assert demo.Demo.is_drawn(str(root), **FEW)
    made = (beside / dataset.DESCRIPTION).stat().st_mtime_ns
    demo.Demo(str(root), **FEW)
    assert (beside / dataset.DESCRIPTION).stat().st_mtime_ns == made
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert files(tmp_path) == {"demo", beside.name}


def test_interrupted_generation_leaves_nothing_that_looks_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path
) -> None:
    """And the next one ends it."""

    def interrupted(seed: list[int], classes: list[int]) -> None:
        if seed[1] == 3:
            raise KeyboardInterrupt

    real = dataset.draw_scene
    monkeypatch.setattr(dataset, "draw_scene", lambda *scene: interrupted(*scene) or real(*scene))
    with pytest.raises(KeyboardInterrupt):
        dataset.drawn_dataset(0, TRAIN, VAL).make(tmp_path / "demo")
    assert files(tmp_path) == {f".demo-1-0-{TRAIN}-{VAL}-making"}
    monkeypatch.setattr(dataset, "draw_scene", real)
    dataset.drawn_dataset(0, TRAIN, VAL).make(tmp_path / "demo")
    assert files(tmp_path) == {"demo"} and pixels_digest(tmp_path / "demo") == pixels_digest(root)


@pytest.mark.slow(2)
def test_two_processes_make_one_demo(tmp_path: Path) -> None:
    code = "import sys; from fsbench.datamodules.datasets.demo import Demo; Demo(sys.argv[1], train=14, val=10)"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "demo")]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert files(tmp_path) == {"demo"} and dataset.drawn_dataset(0, TRAIN, VAL).is_in(tmp_path / "demo")


def test_somebody_elses_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataError, match="not the demo's"):
        dataset.drawn_dataset(0, TRAIN, VAL).make(tmp_path)
    assert files(tmp_path) == {"photo.jpg"}


def images_digest(root: Path) -> str:
    pixels = (np.asarray(Image.open(path)).tobytes() for path in sorted(root.rglob("*.jpg")))
    return hashlib.sha256(b"".join(pixels)).hexdigest()


@pytest.mark.slow(2)
def test_demo_photos_are_drawn_once_and_the_same(tmp_path: Path) -> None:
    data = demo.DemoImages(str(tmp_path / "all"))
    assert sorted(data.class_names) == sorted(object_class(number).name for number in range(1, 21))
    assert [len(images) for images in data.images] == [dataset.PER_CLASS] * 20
    drawn = (tmp_path / "all" / dataset.IMAGES_DESCRIPTION).stat().st_mtime_ns
    demo.DemoImages(str(tmp_path / "all"))
    assert (tmp_path / "all" / dataset.IMAGES_DESCRIPTION).stat().st_mtime_ns == drawn
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        dataset.drawn_images(seed, per_class=1).make(tmp_path / name)
    assert images_digest(tmp_path / "two") == images_digest(tmp_path / "one") != images_digest(tmp_path / "three")
    save(tmp_path / "mine/a/1.jpg")
    with pytest.raises(DataError, match="holds files that are not the demo's"):
        demo.DemoImages(str(tmp_path / "mine"))


GOLDEN = "6b460e59ca8e945d07ddf6488aa95a7442da328076b8ca857ac66924771ecbf0"


@cache
def scenes(count: int = 80) -> list[tuple[np.ndarray, np.ndarray, list[int]]]:
    rng = np.random.RandomState(0)
    classes = [(rng.permutation(DEMO_CLASSES)[: 1 + i % 4] + 1).tolist() for i in range(count)]
    return [(*draw_scene([5, i], chosen), chosen) for i, chosen in enumerate(classes)]


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_scenes_are_the_same_on_every_machine() -> None:
    assert digest(*(array for seed in range(3) for array in draw_scene(seed, [1, 12, 18]))) == GOLDEN


def test_labels_belong_to_the_image_and_hold_what_was_asked_for() -> None:
    for image, labels, classes in scenes():
        assert image.dtype == labels.dtype == np.uint8
        assert image.shape == (*labels.shape, 3)
        assert set(np.unique(labels)) <= {0, VOID, *classes}
        assert all(112 <= side <= 160 for side in labels.shape)
    sizes = [labels.shape for _, labels, _ in scenes()]
    assert len(set(sizes)) > 60 and np.mean([height == width for height, width in sizes]) < 0.1


def test_nearly_every_object_finds_room() -> None:
    asked = sum(len(classes) for _, _, classes in scenes())
    shown = sum(len(np.intersect1d(labels, classes)) for _, labels, classes in scenes())
    assert shown >= 0.98 * asked


def test_objects_come_in_all_sizes() -> None:
    shares = [float((labels == number).mean()) for _, labels, classes in scenes() for number in classes]
    counts, _ = np.histogram(shares, [0.005, 0.05, 0.1, 0.15, 1.0])
    assert counts.min() >= 0.08 * len(shares)


def test_void_is_a_thin_border_around_every_object() -> None:
    for _, labels, _ in scenes():
        # nothing but void lies between labels that differ
        for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            touching = (first != second) & (first != VOID) & (second != VOID)
            assert not touching.any()
        # and no void pixel is far from other labels: a 5 x 5 square of void does not occur but where objects meet
        void = np.lib.stride_tricks.sliding_window_view(labels == VOID, (5, 5)).all((2, 3))
        assert void.mean() < 0.001


def test_demo_and_pretraining_classes_share_no_kind_of_object() -> None:
    demo = {(kind.shape, kind.pattern) for kind in map(object_class, range(1, DEMO_CLASSES + 1))}
    others = {(kind.shape, kind.pattern) for kind in map(object_class, range(PRETRAIN_START, PRETRAIN_START + 100))}
    assert len(demo) == DEMO_CLASSES
    assert len(others) == 100
    assert not demo & others


@pytest.mark.parametrize("fold", range(DEMO_CLASSES // FOLD))
def test_neither_shape_nor_texture_alone_tells_the_classes_of_a_fold_apart(fold: int) -> None:
    kinds = [object_class(FOLD * fold + i) for i in range(1, FOLD + 1)]
    assert len({kind.shape for kind in kinds}) < FOLD
    assert len({kind.pattern for kind in kinds}) < FOLD
    for kind in kinds:
        assert any(kind.shape == other.shape or kind.pattern == other.pattern for other in kinds if other != kind)


def test_class_numbers_are_unbounded() -> None:
    assert object_class(5101).name


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_stay_within_reach(shape: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 720)
    assert (SHAPES[shape](REACH * np.cos(angle), REACH * np.sin(angle)) > 0).all()
    assert 0.5 < unit_area(shape) < np.pi
