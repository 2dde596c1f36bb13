"""Manifests held against the local data: equal copies fit, and what differs is named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError
from fsbench.data.episodes.fit import check_fits, hash_images, mismatches
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from tests.datamodules.builders import save_labels

PROTOCOL = load_protocol("fscs")


@pytest.fixture
def data(blocks_folder):
    return Folder(str(blocks_folder))


@pytest.fixture
def copied(blocks_folder, tmp_path):
    """A copy of the data set whose files may be changed."""
    shutil.copytree(blocks_folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def manifest(data):
    drawn = PROTOCOL.manifest(data, Task(0, way=2, shot=2, setting="fully_augmented", episodes=20))
    return replace(drawn, images=hash_images(drawn, data))


def test_a_manifest_fits_an_equal_copy_of_the_data(manifest, copied):
    check_fits(manifest, Folder(str(copied)), "m.jsonl")


def test_changed_photos_and_label_maps_are_named(manifest, copied):
    photo, label = manifest.image_names[0], manifest.image_names[1]
    pixels = np.asarray(Image.open(copied / "JPEGImages" / f"{photo}.jpg"))
    Image.fromarray(pixels).save(copied / "JPEGImages" / f"{photo}.jpg", quality=50)
    data = Folder(str(copied))
    labels = data.label_map(label).copy()
    labels[0, 0] = 0 if labels[0, 0] else 1
    save_labels(copied / "SegmentationClassAug" / f"{label}.png", labels)
    found = mismatches(manifest, Folder(str(copied)))
    assert found == [
        f"1 photos differ from those it was made with: {photo}",
        f"1 label maps differ from those it was made with: {label}",
    ]
    with pytest.raises(DataError, match=rf"m\.jsonl does not fit the data: .*{photo}.*{label}"):
        check_fits(manifest, Folder(str(copied)), "m.jsonl")


def test_a_label_map_saved_in_another_way_is_the_same(manifest, copied):
    name = manifest.image_names[0]
    labels = Folder(str(copied)).label_map(name)
    Image.fromarray(labels).save(copied / "SegmentationClassAug" / f"{name}.png")  # grey instead of palette
    assert mismatches(manifest, Folder(str(copied))) == []


def test_without_hashes_every_image_must_show_its_class(manifest, copied):
    bare = replace(manifest, images={})
    assert mismatches(bare, Folder(str(copied))) == []
    name = manifest.episodes[0].query
    labels = Folder(str(copied)).label_map(name)
    save_labels(copied / "SegmentationClassAug" / f"{name}.png", np.zeros_like(labels))
    lacks = f"{name}, which lacks {bare.header.class_names[str(bare.episodes[0].query_class)]} (episode 0)"
    assert mismatches(bare, Folder(str(copied))) == [
        f"1 images do not show the class they stand for, for example {lacks}"
    ]
    (copied / "JPEGImages" / f"{name}.jpg").unlink()
    found = mismatches(bare, Folder(str(copied)))
    assert len(found) == 1 and "images are not there, for example" in found[0]


def test_a_manifest_of_another_data_set_or_of_other_classes_does_not_fit(manifest, copied):
    description = (copied / "folds.yaml").read_text()
    (copied / "folds.yaml").write_text(description.replace("name: blocks", "name: bricks"))
    assert mismatches(manifest, Folder(str(copied))) == ["it is for the data set blocks, not for bricks"]
    (copied / "folds.yaml").write_text(description.replace("'red'", "'crimson'"))
    assert mismatches(manifest, Folder(str(copied))) == ["its class 1 is red, here it is crimson"]


def test_a_manifest_about_a_class_that_the_data_lack_does_not_fit(manifest, copied):
    forged = replace(
        manifest,
        entries={
            **manifest.entries,
            "class_ids": [*manifest.class_ids, 99],
            "class_names": {**manifest.entries["class_names"], "99": "pink"},
        },
    )
    assert mismatches(forged, Folder(str(copied))) == ["its class 99 is pink, here it is unknown"]
