"""Episode lists as files: intact, damaged or altered, and headers whole and of the right types."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fsbench.base.errors import RecordError
from fsbench.base.paths import BENCHMARKS
from fsbench.data.episodes.fit import hash_images
from fsbench.data.episodes.manifest import Manifest, check_header, description, differences, read_manifest
from fsbench.data.episodes.task import ClassificationTask, Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from tests.datamodules.test_classification import photos
from tests.fsbench.runs import HEADER, some_header

PROTOCOL = load_protocol("fscs")
FILE = Path("m.jsonl")


@pytest.fixture
def data(blocks_folder):
    return Folder(str(blocks_folder))


@pytest.fixture
def manifest(data):
    drawn = PROTOCOL.manifest(data, Task(0, way=2, shot=2, setting="fully_augmented", episodes=20))
    return replace(drawn, images=hash_images(drawn, data))


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
        with pytest.raises(RecordError, match=r"m\.jsonl\.gz (is no manifest|has a header without)"):
            read_manifest(path)
    with pytest.raises(RecordError, match=r"there is no manifest .*nowhere"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("name", HEADER)
def test_an_entry_that_is_not_there_is_named(name, tmp_path):
    entries = {key: value for key, value in HEADER.items() if key != name}
    with pytest.raises(RecordError, match=f"m.jsonl has a header without {name}; expected one of this version"):
        check_header(entries, FILE)


def test_entries_of_a_protocol_of_its_own_are_kept(tmp_path):
    manifest = Manifest(HEADER | {"offset": 3, "kind": None}, ())
    manifest.write(tmp_path / "m.jsonl")
    read = read_manifest(tmp_path / "m.jsonl", manifest.sha256).header
    assert read.protocol_entries == {"offset": 3} == manifest.header.protocol_entries and read == manifest.header
    assert some_header().protocol_entries == {}


def test_the_frozen_episodes_have_no_other_entries():
    for file in sorted((BENCHMARKS / "manifests").glob("*/*fold0*1way1shot.jsonl.gz")):
        manifest = read_manifest(file)
        assert not manifest.header.protocol_entries
        assert manifest.header.model_dump(exclude_unset=True) == manifest.entries


def test_a_manifest_of_classification_is_shown_and_compared(tmp_path):
    data, protocol = photos(tmp_path), load_protocol("fort")
    first, second = (
        protocol.manifest(data, ClassificationTask(way=3, shot=1, queries=4, episodes=2, seed=seed)) for seed in (0, 1)
    )
    lines = list(description(first, 1))
    assert "3-way 1-shot" in lines[0] and "2 episodes" in lines[0]
    asked = [sum(number in episode.classes for episode in first.episodes) for number in range(len(data.class_names))]
    assert [line.split()[-2] for line in lines[2:-1]] == list(map(str, asked))
    episode = first.episodes[0]
    ways = [
        f"{data.class_names[number]}: {support[0]} queries {','.join(map(str, queries))}"
        for number, support, queries in zip(episode.classes, episode.support, episode.query, strict=True)
    ]
    assert lines[-1] == f"0  {'  '.join(ways)}"
    assert differences(first, second)[0] == "seed: 0 | 1" and not differences(first, first)
