"""Every slice of a scan: parts, supports and slices that count, by plain loops (alpnet.md §3)."""

from dataclasses import replace

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.data.volumes import scan_of, slice_number
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.protocols.draws.volumes import part_of, slice_queries, support_slices
from fsbench.protocols.headers import header_faults
from fsbench.protocols.reading import load_protocol
from tests.drawn_volumes import CHAOS_IDS, draw_prepared


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ChaosT2(str(draw_prepared(tmp_path_factory.mktemp("scans"))))


def manifest(data, fold=0, shot=1, draw=None, **task):
    protocol = load_protocol("alpnet")
    protocol = replace(protocol, draw=replace(protocol.draw, **(draw or {})))
    return protocol.manifest(protocol.draw.data(data, fold, shot), Task(fold, shot=shot, **task))


def test_a_query_gets_the_slice_in_the_middle_of_its_part(data):
    for fold in (0, 7):
        found = list(manifest(data, fold).episodes)
        scans = data.fold_scans(fold, 1)
        for cls in data.test_classes(fold):
            shown = {scan: [z for z in range(7) if (data.label_map(f"{scan}/{z}") == cls).any()] for scan in data.scans}
            own = shown[scans.supports[0]]
            middles = [own[len(own) // 6], own[len(own) // 2], own[5 * len(own) // 6]]
            for scan in scans.queries:
                first, last = shown[scan][0], shown[scan][-1]
                for z in range(first, last + 1):
                    part = min(int(3 * (z - first) / (last - first)), 2)
                    episode = found.pop(0)
                    assert (episode.query, episode.classes) == (f"{scan}/{z}", (cls,))
                    assert episode.supports == ((f"{scans.supports[0]}/{middles[part]}",),)
        assert not found


def test_parts_divide_the_range_of_a_query_and_the_list_of_a_support():
    assert support_slices([0, 1, 2, 3, 40, 41], 3) == [1, 3, 41]
    assert support_slices([5], 3) == [5, 5, 5] and support_slices([5, 6, 7], 1) == [6]
    assert [part_of(z, 2, 8, 3) for z in (1, 2, 3, 4, 5, 6, 7, 8, 9)] == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert part_of(4, 4, 4, 3) == 0


def test_slices_between_those_with_the_class_count_and_such_beside_them_only_within_the_margin():
    counted = {
        margin: [one.z for one in slice_queries("1", 8, [2, 4], 3, margin) if one.counts] for margin in (0, 1, None)
    }
    assert counted == {0: [2, 3, 4], 1: [1, 2, 3, 4, 5], None: list(range(8))}
    assert [one.shows for one in slice_queries("1", 5, [2, 4], 3)] == [False, False, True, False, True]


def test_every_shot_is_a_scan_more_and_other_scans_may_support(data):
    two = manifest(data, shot=2).episodes
    assert {tuple(map(scan_of, episode.supports[0])) for episode in two} == {("8", "10")}
    assert {scan_of(episode.query) for episode in two} == {"1", "2", "3", "5"}
    first = manifest(data, draw={"support_scans": (0,)}).episodes
    assert {scan_of(episode.supports[0][0]) for episode in first} == {"1"}
    assert {scan_of(episode.query) for episode in first} == {"2", "3", "5", "8"}
    with pytest.raises(SettingsError, match="support_scans has 1 places and the test 2 shots"):
        manifest(data, shot=2, draw={"support_scans": (0,)})


def test_a_slice_without_the_class_is_a_query_about_nothing_that_it_shows(data):
    found = manifest(data, draw={"margin": None}).episodes
    empty = [episode for episode in found if episode.query_class == 0]
    assert empty and len(found) == 2 * 4 * 7
    assert all((data.label_map(one.query) != one.classes[0]).all() for one in empty)
    assert all((data.label_map(one.query) == one.classes[0]).any() for one in found if one not in empty)


def test_all_folds_have_one_list_and_some_episodes_are_of_all_classes_and_scans(data):
    every = [manifest(data, fold) for fold in range(10)]
    assert all(one.header.requested == one.header.official_episodes == len(one.episodes) for one in every)
    assert len({one.header.all_lists_sha256 for one in every}) == 1 and all(one.header.slices for one in every)
    few = manifest(data, episodes=8)
    assert len(few.episodes) == 8 and few.header.requested == 8
    assert {episode.classes for episode in few.episodes} == {(2,), (3,)}
    assert {scan_of(episode.query) for episode in few.episodes} == {"1", "2", "3", "5"}


def test_what_is_no_such_test_is_refused_in_one_line(data, tmp_path):
    for task, words in (
        ({"draws": 2}, "no images to draw other supports from"),
        ({"seed": 3}, "seeds episodes by their index"),
        ({"way": 2}, "is 1-way"),
        ({"fold": 10}, "unknown fold 10"),
    ):
        with pytest.raises(SettingsError, match=words):
            manifest(data, **task)
    with pytest.raises(SettingsError, match="parts is 2, expected an odd number"):
        replace(load_protocol("alpnet").draw, parts=2).check()
    with pytest.raises(SettingsError, match="margin is -1"):
        replace(load_protocol("alpnet").draw, margin=-1).check()
    with pytest.raises(SettingsError, match=r"support_scans is \[9\]; expected places from -5 to 4"):
        manifest(data, draw={"support_scans": (9,)})
    lacking = ChaosT2(str(draw_prepared(tmp_path)))
    text = (tmp_path / "classmap_1.json").read_text()
    shown = lacking.class_slices[2]["3"]
    (tmp_path / "classmap_1.json").write_text(text.replace(f'"3": {list(shown)}', '"3": []'))
    with pytest.raises(DataError, match="scan 3 of chaost2 does not show"):
        manifest(ChaosT2(str(tmp_path)))
    few = ChaosT2(str(draw_prepared(tmp_path / "few", ids=CHAOS_IDS[:1])))
    with pytest.raises(DataError, match="has 1 scans, expected the 5 of a fold and its supports"):
        few.fold_scans(0, 1)


def test_lists_are_official_where_the_scans_are_the_published_ones(data, tmp_path):
    assert manifest(data).header.lists == "derived"
    published = [int(scan) for scan in ChaosT2.published_scans]
    assert manifest(ChaosT2(str(draw_prepared(tmp_path / "all", ids=published)))).header.lists == "official"
    others = [*published[:-1], 40]
    assert manifest(ChaosT2(str(draw_prepared(tmp_path / "other", ids=others)))).header.lists == "derived"


def test_a_header_of_scans_is_held_to_its_protocol(data):
    drawn = manifest(data, episodes=8)
    protocol = load_protocol("alpnet")
    assert not list(header_faults(drawn, protocol))
    said = list(header_faults(replace(drawn, entries=drawn.entries | {"slices": False}), protocol))
    assert said == ["slices is False, and the images of the protocol alpnet are slices"]
    photo = replace(drawn.episodes[0], query="2007_000032")
    (said,) = header_faults(Manifest(drawn.entries, (photo, *drawn.episodes[1:])), protocol)
    assert said == "slices is True, and '2007_000032' is no slice, which are named <scan>/<z>"


def test_names_tell_scan_and_slice():
    assert scan_of("10/7") == "10" and slice_number("10/7") == 7
    assert np.array_equal([slice_number(f"1/{z}") for z in (0, 12)], [0, 12])
