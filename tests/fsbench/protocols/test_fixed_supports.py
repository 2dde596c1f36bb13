"""A fixed support set: which images are supports and which are asked, on folders (the rule itself: goldens)."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_protocol

FIXED = load_protocol("fixed_supports")
IN_ALL = replace(FIXED, draw=replace(FIXED.draw, per="set"))


def folder(blocks: Path, to: Path, more: str = "", one_list: bool = False) -> Folder:
    shutil.copytree(blocks, to)
    text = (to / "folds.yaml").read_text().replace("[[1, 2, 3], [4, 5, 6]]", "[[1, 2, 3, 4, 5, 6]]")
    (to / "folds.yaml").write_text(f"{text}{more}\n")
    if one_list:
        (to / "ImageSets/Segmentation/train.txt").unlink()
    return Folder(str(to))


def drawn(data: Folder, protocol: Protocol = FIXED, **task) -> Manifest:
    return protocol.manifest(data, protocol.draw.with_own_ways(data, Task(0, **task)))


def supports(manifest: Manifest) -> list[tuple[tuple[str, ...], ...]]:
    """The support sets of a test's draws, in order; each of a draw's queries has them."""
    lengths = manifest.header.protocol_entries["run_lengths"]
    starts = [sum(lengths[:run]) for run in range(len(lengths))]
    for start, length in zip(starts, lengths, strict=True):
        assert len({one.supports for one in manifest.episodes[start : start + length]}) == 1
    return [manifest.episodes[start].supports for start in starts]


def test_all_of_the_second_list_is_asked_and_a_support_serves_every_class_that_it_shows(blocks_folder, tmp_path):
    data = folder(blocks_folder, tmp_path / "blocks")
    manifest = drawn(data, shot=2)
    assert manifest.header.way == 6 and manifest.header.protocol_entries["run_lengths"] == [24] * 5
    queries = [one.query for one in manifest.episodes]
    assert queries == sorted(data.candidates("val")) * 5
    for ways in supports(manifest):
        every = {name for way in ways for name in way}
        assert len(every) == 12 and every <= set(data.candidates("trn"))
        for number, way in enumerate(ways, start=1):
            assert set(way) == {name for name in every if data.class_pixels(name)[0].get(number)}
    fewer = supports(drawn(data, shot=1))
    for many, few in zip(supports(manifest), fewer, strict=True):
        assert {name for way in few for name in way} < {name for way in many for name in way}


def test_an_image_that_is_a_support_in_any_draw_is_asked_in_none(blocks_folder, tmp_path):
    data = folder(blocks_folder, tmp_path / "one", one_list=True)
    manifest = drawn(data, IN_ALL, shot=2)
    used = {name for ways in supports(manifest) for way in ways for name in way}
    asked = {one.query for one in manifest.episodes}
    assert not used & asked and len(supports(manifest)) == 5
    few = drawn(data, IN_ALL, shot=9)  # of 24: a second draw would leave fewer than half
    assert len(supports(few)) == 1 and len(few.episodes) == 15
    assert any("1 draw of supports instead of 5" in note for note in FIXED.draw.notes(few.header))
    with pytest.raises(DataError, match="none is left to be asked"):
        drawn(data, IN_ALL, shot=24)
    with pytest.raises(DataError, match="there are 24 images that may be supports, and 25 are needed"):
        drawn(data, IN_ALL, shot=25)


def test_a_class_that_no_support_shows_is_asked_and_named(blocks_folder, tmp_path):
    manifest = drawn(folder(blocks_folder, tmp_path / "blocks"), IN_ALL, shot=2)
    lacking = {}
    for ways in supports(manifest):
        for number, way in enumerate(ways, start=1):
            lacking[str(number)] = lacking.get(str(number), 0) + (not way)
    lacking = {number: count for number, count in lacking.items() if count}
    assert lacking and manifest.header.protocol_entries["unshown_classes"] == lacking
    notes = " ".join(IN_ALL.draw.notes(manifest.header))
    assert all(f"no support shows {manifest.header.class_names[number]}" in notes for number in lacking)


def test_what_shows_the_same_patient_stays_on_one_side(blocks_folder, tmp_path):
    more = "groups: {a: [image_024.jpg, image_030], b: [image_025, image_001]}\nsupports: [image_030, image_001]"
    manifest = drawn(folder(blocks_folder, tmp_path / "blocks", more))
    asked = {one.query for one in manifest.episodes}
    assert asked == {f"image_{number:03d}" for number in range(24, 48)} - {"image_024", "image_025", "image_030"}
    assert manifest.header.shot == 2 and len(supports(manifest)) == 1


def test_small_classes_are_left_out_if_asked(blocks_folder, tmp_path):
    data = folder(blocks_folder, tmp_path / "blocks")
    with pytest.raises(DataError, match="lower --shot, or add images"):
        drawn(data, shot=4)
    manifest = drawn(data, shot=4, drop_small=True)
    assert manifest.header.dropped_classes and manifest.header.way == 6 - len(manifest.header.dropped_classes)
    with pytest.raises(DataError, match="no class has 40 images that may be supports"):
        drawn(data, shot=40, drop_small=True)


def test_named_sets_take_no_other_number_and_no_seed(blocks_folder, tmp_path):
    data = folder(blocks_folder, tmp_path / "blocks", "supports: [image_000, image_001]")
    with pytest.raises(SettingsError, match="shot is 3, and blocks names sets of 2 supports"):
        drawn(data, shot=3)
    with pytest.raises(SettingsError, match="so that no seed draws them"):
        drawn(data, seed=7)
    with pytest.raises(SettingsError, match="has 5 draws of it already"):
        drawn(folder(blocks_folder, tmp_path / "again"), draws=3)
