"""Scenes: the same everywhere, of all object sizes, with thin void borders; classes that need shape and texture."""

import hashlib
from functools import cache

import numpy as np
import pytest

from fsbench.datamodules.datasets.demo.classes import DEMO_CLASSES, FOLD, PRETRAIN_START, object_class
from fsbench.datamodules.datasets.demo.scenes import VOID, draw_scene
from fsbench.datamodules.datasets.demo.shapes import REACH, SHAPES, unit_area

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


def test_class_numbers_are_unbounded_and_start_at_one() -> None:
    assert object_class(5101).name
    with pytest.raises(ValueError, match="start at 1"):
        object_class(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_stay_within_reach(shape: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 720)
    assert (SHAPES[shape](REACH * np.cos(angle), REACH * np.sin(angle)) > 0).all()
    assert 0.5 < unit_area(shape) < np.pi
