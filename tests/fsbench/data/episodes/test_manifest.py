"""Episode lists as files: intact, altered, and held against the local data."""

import gzip
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fsbench.base.errors import DataError, RecordError
from fsbench.data.episodes.manifest import check_fits, hash_images, mismatches, read_manifest
from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from tests.datamodules.builders import save_labels

PROTOCOL = load_protocol("fscs")


@pytest.fixture
def index(blocks_folder):
    return Folder(str(blocks_folder))


@pytest.fixture
def copied(blocks_folder, tmp_path):
    """A copy of the data set whose files may be changed."""
    shutil.copytree(blocks_folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def manifest(index):
    drawn = PROTOCOL.manifest(index, EpisodeTask(0, way=2, shot=2, setting="fully_augmented", episodes=20))
    return replace(drawn, images=hash_images(drawn, index))


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_a_manifest_survives_its_file(manifest, tmp_path, name):
    manifest.write(tmp_path / name)
    assert read_manifest(tmp_path / name, manifest.sha256) == manifest
    first = (tmp_path / name).read_bytes()
    manifest.write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == first  # nothing depends on the time


def test_hashes_of_images_are_not_part_of_what_is_tested(manifest):
    assert replace(manifest, images={}).sha256 == manifest.sha256


def test_an_altered_manifest_is_refused(manifest, tmp_path):
    path = tmp_path / "m.jsonl"
    manifest.write(path)
    lines = path.read_text().splitlines()
    assert read_manifest(path).episodes is read_manifest(path).episodes  # kept by their text, which then differs
    altered = [*lines[:3], lines[3].replace('"query":"image_0', '"query":"image_1'), *lines[4:]]
    for changed in (altered, [*lines[:-2], lines[-1]], [lines[0], lines[2], lines[1], *lines[3:]]):
        path.write_text("\n".join(changed) + "\n")
        with pytest.raises(RecordError, match="it was changed since"):
            read_manifest(path)


def test_hashes_of_images_cannot_be_taken_away(manifest, tmp_path):
    path = tmp_path / "m.jsonl"
    manifest.write(path)
    *lines, end = path.read_text().splitlines()
    path.write_text("\n".join([*lines, json.dumps(json.loads(end) | {"images": {}})]) + "\n")
    with pytest.raises(RecordError, match="has other image hashes than it was written with"):
        read_manifest(path)


def test_another_manifest_than_the_record_names_is_refused(manifest, tmp_path):
    manifest.write(tmp_path / "m.jsonl")
    with pytest.raises(RecordError, match=f"has sha256 {manifest.sha256}, expected 0123"):
        read_manifest(tmp_path / "m.jsonl", "0123")


def test_a_damaged_manifest_is_named(manifest, tmp_path):
    path = tmp_path / "m.jsonl.gz"
    manifest.write(path)
    whole = path.read_bytes()
    plain = ["", "[]\n[]", json.dumps({"a": 1}) + "\n{}\n", "no json", "1\n2\n3\n"]
    for damaged in (b"", whole[:-20], b"x" + whole, *(gzip.compress(text.encode()) for text in plain)):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"m\.jsonl\.gz is no manifest"):
            read_manifest(path)
    with pytest.raises(RecordError, match=r"there is no manifest .*nowhere"):
        read_manifest(tmp_path / "nowhere")


def test_a_manifest_fits_an_equal_copy_of_the_data(manifest, copied):
    check_fits(manifest, Folder(str(copied)), "m.jsonl")


def test_changed_photos_and_label_maps_are_named(manifest, copied):
    photo, label = manifest.image_names[0], manifest.image_names[1]
    pixels = np.asarray(Image.open(copied / "JPEGImages" / f"{photo}.jpg"))
    Image.fromarray(pixels).save(copied / "JPEGImages" / f"{photo}.jpg", quality=50)
    index = Folder(str(copied))
    labels = index.label_map(label).copy()
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
    assert mismatches(bare, Folder(str(copied))) == [
        f"1 images do not show the class they stand for, for example {name}"
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
