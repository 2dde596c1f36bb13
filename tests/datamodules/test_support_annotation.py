"""Weak annotations in place of the test supports' masks (`--data.test.support_annotation`)."""

import numpy as np
import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.needs import Needs
from fsbench.core.segmenter import Segmenter
from fsbench.data.support_annotation import AnnotationStreams, discs, draw_annotation, draw_label
from fsbench.data.transforms import RESIZES
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.view import View
from tests.data_modules import episodic
from tests.datamodules.builders import save_coco
from tests.datamodules.datasets.test_coco import box

SIDE = 56


def module(folder, kind="mask", **settings):
    usual = {"image_size": SIDE, "workers": 0, "episodes": 4, "validation_episodes": 2, "protocol": "fscs", "shot": 2}
    return episodic(Folder(str(folder)), support_annotation=kind, **usual | settings)


def labels_of(data):
    return {int(one.episodes[0]): one.support_labels[0] for batch in data.test_dataloader() for one in batch.split()}


@pytest.mark.parametrize("kind", ["box", "point", "scribble"])
def test_what_is_drawn_stands_in_place_of_the_mask_as_methods_see_it(blocks_folder, kind):
    """Drawn from the resized mask, support by support, and anew for each way (vrp-sam.md §3); no void is marked."""
    settings = {"way": 2}
    masks, weak = module(blocks_folder, **settings), module(blocks_folder, kind, **settings)
    drawn, plain = labels_of(weak), labels_of(masks)
    for number, own in plain.items():
        for way, labels in enumerate(own):
            streams = AnnotationStreams.of_episode(0, number)
            for shot, label in enumerate(labels):
                expected = draw_annotation(label == 1, kind, streams)
                if kind == "point":
                    expected = discs(expected, round(SIDE / 64)) & (label == 1)
                assert torch.equal(drawn[number][way, shot] == 1, expected) and expected.any()
                assert set(drawn[number][way, shot].unique().tolist()) <= {0, 1}
    pairs = zip(masks.test_dataloader(), weak.test_dataloader(), strict=True)
    for one, other in pairs:
        assert torch.equal(one.truth.label_maps[0], other.truth.label_maps[0])
        assert torch.equal(one.images, other.images)
    assert weak.test_options == {"support_annotation": kind} and weak.test_words[-1].endswith(f"-{kind}")
    assert weak.manifest.sha256 == masks.manifest.sha256
    for stage in ("val_dataloader", "train_dataloader"):  # the test's supports alone are weak
        one, other = (getattr(data, stage)() for data in (masks, weak))
        first, second = (loader.dataset[(0, 0) if stage[0] == "t" else 0] for loader in (one, other))
        assert torch.equal(first.support_labels, second.support_labels)


def test_drawings_follow_from_seed_and_episode_alone(blocks_folder):
    settings = {"draws": 2, "nested_in": 2}
    once = labels_of(module(blocks_folder, "scribble", **settings))
    for other in ({"workers": 2, "eval_batch_size": 3}, {"seed": 7}, {"batch_size": 4}):
        again = labels_of(module(blocks_folder, "scribble", **settings | other))
        assert once.keys() == again.keys() and all(torch.equal(once[number], again[number]) for number in once)
    fewer = labels_of(module(blocks_folder, "scribble", **settings | {"shot": 1, "draws": 1}))
    assert all(torch.equal(fewer[number], once[number][:, :1]) for number in fewer) and len(fewer) == 4
    data = module(blocks_folder, "scribble", **settings)
    data.done = frozenset({0, 1, 2})
    rest = labels_of(data)
    assert set(rest) == set(once) - {0, 1, 2} and all(torch.equal(once[number], rest[number]) for number in rest)
    one, other = (AnnotationStreams.of_episode(seed, 3) for seed in (0, 1))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:40, 5:50] = 1
    assert not np.array_equal(draw_label(mask, "point", one), draw_label(mask, "point", other))


def test_discs_hold_all_within_their_radius():
    pixels = torch.zeros(20, 30, dtype=torch.bool)
    pixels[0, 0] = pixels[12, 20] = True
    rows, columns = torch.arange(20)[:, None], torch.arange(30)
    expected = (rows**2 + columns**2 <= 25) | ((rows - 12) ** 2 + (columns - 20) ** 2 <= 25)
    assert torch.equal(discs(pixels, 5), expected) and not discs(torch.zeros(4, 4, dtype=torch.bool), 3).any()
    assert torch.equal(discs(pixels, 0), pixels)


def test_padding_stays_void_under_weak_annotations(blocks_folder):
    data = Folder(str(blocks_folder))
    episode = module(blocks_folder).manifest.episodes[0]
    padding = RESIZES["padded"][1](np.zeros_like(data.label_map(episode.supports[0][0])), SIDE, SIDE)
    for kind in ("box", "point"):
        config = LoadingConfig(SIDE, View("padded", "input"), annotation=kind)
        label = load_episode(data, episode, config).support_labels[0, 0, 0].numpy()
        assert np.array_equal(label == 255, padding == 255) and (label == 255).any() and (label == 1).any()


def test_objects_of_coco_have_boxes_of_their_own(tmp_path):
    """An image has two squares of class 1, a square of class 2 that covers a part of them, and a crowd."""
    squares = [
        {"class": number, "segmentation": [box(x, y, x + side, y + side)], "iscrowd": crowd}
        for number, x, y, side, crowd in ((1, 2, 3, 10, 0), (1, 40, 20, 15, 0), (2, 38, 18, 6, 0), (1, 60, 40, 9, 1))
    ]
    save_coco(tmp_path, "val2014", {"COCO_val2014_1.jpg": (60, 80, squares)})
    data = Coco(str(tmp_path), lists=[])
    name = "val2014/COCO_val2014_1.jpg"
    labels, objects = data.label_map(name), data.object_masks(name, 1)
    assert data.knows_objects and [int(one.sum()) for one in objects] == [121, 256]
    joined = objects[0] | objects[1]
    covered = labels == 2
    assert np.array_equal(labels == 1, joined & ~covered) and (joined & covered).any()
    assert np.array_equal(data.object_masks(f"{name}@1", 1)[1], objects[1])  # a view shows the same photo
    drawn = draw_label((labels == 1).astype(np.uint8), "box", AnnotationStreams.of_episode(0, 0), objects)
    expected = np.zeros_like(labels)
    expected[3:14, 2:13] = 1
    expected[20:36, 40:56] = 1
    assert np.array_equal(drawn, expected)


def test_annotations_that_cannot_be_are_refused(blocks_folder):
    with pytest.raises(SettingsError, match=r"instance-box, and .* does not tell the single objects"):
        module(blocks_folder, "instance-box")
    with pytest.raises(SettingsError, match="box, and the protocol gfss has supports with masks; leave it out"):
        module(blocks_folder, "box", protocol="gfss")
    assert module(blocks_folder).support_annotation == "mask"


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (
            Needs(annotation_option="--model.prompt"),
            "makes the supports' annotations itself.* such as --model.prompt box",
        ),
        (Needs(hints=frozenset({"photos", "boxes"})), "always gets a box of each support"),
    ],
)
def test_methods_are_not_told_of_their_supports_in_two_ways(blocks_folder, needs, message):
    method = Segmenter(BackboneConfig("demo", "random:0"))
    method.needs = needs
    with pytest.raises(SettingsError, match=f"support_annotation is scribble, but segmenter {message}"):
        method.check_run(module(blocks_folder, "scribble", image_size=32), trains=False)
    for kind in ("mask", "all_ways"):  # both show the truth of a support
        method.check_run(module(blocks_folder, kind, image_size=32), trains=False)
