"""The demo on disk: complete or absent, balanced, readable as a dataset; the weights that come with it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.datamodules.datasets import demo
from fsbench.datamodules.datasets.demo import dataset
from fsbench.datamodules.datasets.demo.classes import DEMO_CLASSES, object_class
from fsbench.protocols.draws.pair_lists import pair_list
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


def test_demo_is_an_annotation_index_of_twenty_classes_in_four_folds(root: Path) -> None:
    index = demo.Demo(str(root), train=TRAIN, val=VAL)
    assert (index.name, index.folds, len(set(index.class_names))) == ("demo", 4, DEMO_CLASSES)
    assert [index.test_classes(fold)[0] for fold in range(4)] == [16, 1, 6, 11]
    assert all(len(pair_list(index, "trn", fold).pairs) for fold in range(4))


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
    index = demo.Demo(str(root), **FEW)
    assert index.image_path("demo_000000").parent.parent == beside
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
    index = demo.DemoImages(str(tmp_path / "all"))
    assert sorted(index.class_names) == sorted(object_class(number).name for number in range(1, 21))
    assert [len(images) for images in index.images] == [dataset.PER_CLASS] * 20
    drawn = (tmp_path / "all" / dataset.IMAGES_DESCRIPTION).stat().st_mtime_ns
    demo.DemoImages(str(tmp_path / "all"))
    assert (tmp_path / "all" / dataset.IMAGES_DESCRIPTION).stat().st_mtime_ns == drawn
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        dataset.drawn_images(seed, per_class=1).make(tmp_path / name)
    assert images_digest(tmp_path / "two") == images_digest(tmp_path / "one") != images_digest(tmp_path / "three")
    save(tmp_path / "mine/a/1.jpg")
    with pytest.raises(DataError, match="holds files that are not the demo's"):
        demo.DemoImages(str(tmp_path / "mine"))
