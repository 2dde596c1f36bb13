"""Slices of scans: parts, supports and counted slices, by plain loops (alpnet.md §3, scan-tests.md, all-slices.md)."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.fit import check_fits
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.data.volume_io import read_volume
from fsbench.data.volumes import scan_of, slice_number
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.cmr import Cmr
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.protocols.draws.superpixels import slices_with_test_classes
from fsbench.protocols.draws.volumes import part_of, slice_queries, support_slices
from fsbench.protocols.reading import load_protocol, manifest_fault
from tests.drawn_volumes import CHAOS_IDS, draw_prepared


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ChaosT2(str(draw_prepared(tmp_path_factory.mktemp("scans"))))


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    return Cmr(str(draw_prepared(tmp_path_factory.mktemp("hearts"), Cmr, range(1, 36), slices=4)))


def shown_slices(data, scan, cls):
    return [z for z in range(len(data.slices(scan))) if (data.label_map(f"{scan}/{z}") == cls).any()]


def manifest(data, fold=0, shot=1, draw=None, protocol="alpnet", **task):
    protocol = load_protocol(protocol)
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


def test_a_note_says_which_scans_are_asked_twice_or_never():
    said = {
        ("alpnet", "cmr"): "every scan is asked once, as ALPNet does in the abdomen; no published program does so",
        ("alpnet_all_slices", "cmr"): "every scan is asked once, as ALPNet does in the abdomen; no published program",
        ("adnet", "sabs"): "in the last fold, the first scan is asked (as in fold 0) and the last one is the support",
        ("adnet_ep1", "cmr"): "in the last fold, the first scan is asked (as in fold 0) and the last one is",
        ("qnet", "chaost2"): "the scan at place 2, from 0, of each fold's list is never asked, and the scans that two",
    }
    for (name, dataset), words in said.items():
        (note,) = load_protocol(name).draw._scan_notes(dataset)
        assert note.startswith(words)
        assert not load_protocol(name).words.notes
    assert not load_protocol("alpnet").draw._scan_notes("sabs")


# Tests of later programs

ASKED_TWICE = {"qnet": (7, 14, 21, 28, 0), "adnet": (0,), "alpnet": ()}
NEVER_ASKED = {"qnet": (2, 9, 16, 23, 29), "adnet": (34,), "alpnet": ()}


@pytest.mark.parametrize("name", ASKED_TWICE)
def test_which_scans_are_asked_and_which_one_supports_is_as_the_programs_have_it(hearts, name):
    asked, supporting = Counter(), []
    for fold in range(5):
        found = manifest(hearts, fold, protocol=name).episodes
        queries = list(dict.fromkeys(scan_of(one.query) for one in found))
        (support,) = {scan_of(one.supports[0][0]) for one in found}
        asked.update(int(scan) - 1 for scan in queries)
        supporting.append(int(support) - 1)
        first = 28 if name == "alpnet" else 0  # in the list of the last fold
        assert len(queries) == 7 and int(queries[0]) - 1 == (0, 7, 14, 21, first)[fold]
    assert supporting == {"qnet": [2, 9, 16, 23, 29], "adnet": [7, 14, 21, 28, 34], "alpnet": [7, 14, 21, 28, 0]}[name]
    assert [asked[place] for place in range(35)] == [
        2 if place in ASKED_TWICE[name] else 0 if place in NEVER_ASKED[name] else 1 for place in range(35)
    ]


def test_all_slices_are_asked_of_one_support_slice_or_of_k_together(data):
    for shot in (1, 2, 3):
        test = manifest(data, 5, shot, protocol="adnet")
        assert test.header.shot == shot and len(test.episodes) == 2 * 4 * 7
        for cls in (1, 4):
            own = shown_slices(data, "8", cls)  # of the last scan of the fold and its next one
            places = [own[int((1 / (2 * shot) + i / shot) * len(own) + 1e-9)] for i in range(shot)]
            for one in (one for one in test.episodes if one.classes == (cls,)):
                assert one.supports == (tuple(f"8/{z}" for z in places),)
    asked = [one.query for one in manifest(data, 5, protocol="adnet").episodes]
    assert asked == [f"{scan}/{z}" for _ in range(2) for scan in ("1", "2", "3", "5") for z in range(7)]


def test_the_parts_of_a_scan_are_thirds_of_it_without_its_truth(data):
    found = list(manifest(data, protocol="alpnet_all_slices").episodes)
    for cls in (2, 3):
        own = shown_slices(data, "8", cls)
        middles = [own[len(own) // 6], own[len(own) // 2], own[5 * len(own) // 6]]
        for scan in ("1", "2", "3", "5"):
            for z in range(7):
                one = found.pop(0)
                assert (one.query, one.supports) == (f"{scan}/{z}", ((f"8/{middles[(0, 0, 0, 1, 1, 2, 2)[z]]}",),))
    assert not found


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_slices_that_show_a_class_are_parts_of_equally_many(data, parts):
    found = list(manifest(data, draw={"parts": parts}, protocol="qnet").episodes)
    for cls in (2, 3):
        own = shown_slices(data, "3", cls)
        middles = support_slices(own, parts)
        for scan in ("1", "2", "5", "8"):
            shown = shown_slices(data, scan, cls)
            for place, z in enumerate(shown):
                part = max(part for part in range(parts) if part * len(shown) // parts <= place)
                one = found.pop(0)
                assert (one.query, one.query_class) == (f"{scan}/{z}", cls)
                assert one.supports == ((f"3/{middles[part]}",),)
    assert not found


def test_gaps_are_neither_asked_nor_counted_and_parts_may_be_empty():
    def asked(listed, parts=3):
        found = slice_queries("1", 9, listed, parts, counted="shown", parts_by="shown")
        return [(one.z, one.part) for one in found if one.counts]

    assert asked([1, 2, 6, 7]) == [(1, 0), (2, 1), (6, 2), (7, 2)]
    assert asked([1, 2, 3, 4, 5, 6, 7]) == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (7, 2)]
    assert asked([4]) == [(4, 2)] and asked([4, 5]) == [(4, 1), (5, 2)] and asked([]) == []
    assert asked([4, 5], parts=5) == [(4, 2), (5, 4)]


def test_a_scan_that_lacks_a_class_is_asked_where_all_slices_are_and_cannot_support(tmp_path):
    root = draw_prepared(tmp_path)
    content = json.loads((root / "classmap_1.json").read_text())
    content["RK"]["2"] = []
    (root / "classmap_1.json").write_text(json.dumps(content))
    data = ChaosT2(str(root))
    for name, number in (("adnet", 7), ("alpnet_all_slices", 7), ("qnet", 0), ("adnet_ep1", 0)):
        found = [one for one in manifest(data, protocol=name).episodes if one.classes == (2,)]
        of_scan = [one for one in found if scan_of(one.query) == "2"]
        assert len(of_scan) == number and all(one.query_class == 0 for one in of_scan)
    content["RK"]["8"] = []
    (root / "classmap_1.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="scan 8 of chaost2 does not show RK"):
        manifest(ChaosT2(str(root)), protocol="adnet")


def test_a_whole_scan_may_be_the_support(data):
    test = manifest(data, draw={"shots": "whole scan"}, protocol="adnet")
    assert {one.supports for one in test.episodes} == {(tuple(f"8/{z}" for z in range(7)),)}
    assert test.header.shot == 1
    protocol = load_protocol("adnet")
    whole = replace(protocol, draw=replace(protocol.draw, shots="whole scan"))
    assert not manifest_fault(test, whole.draw)
    assert "has a class with 7 supports" in manifest_fault(test, protocol.draw)
    with pytest.raises(SettingsError, match="all slices of one scan, found 2 shots"):
        manifest(data, shot=2, draw={"shots": "whole scan"}, protocol="adnet")


def test_scans_are_whole_and_normalised_by_themselves_where_the_programs_read_them_so(tmp_path):
    data = Sabs(str(draw_prepared(tmp_path, Sabs, range(8), slices=3, side=257)))
    volume = read_volume(tmp_path / "image_4.nii.gz").astype(np.float64)
    for name, side in (("qnet", 257), ("adnet", 257), ("adnet_ep1", 257), ("alpnet", 256), ("alpnet_all_slices", 256)):
        seen = load_protocol(name).draw.data(data, 0, 1)
        assert (
            seen.pixels("4/1").shape[:2] == seen.label_map("4/1").shape == seen.intensities("4/1").shape == (side,) * 2
        )
        own = (volume[1] - volume.mean()) / volume.std()
        assert np.allclose(seen.intensities("4/1"), own[:side, :side], atol=1e-5) == (side == 257)
        assert bool(seen.further_files) == (side == 256)
    assert data.label_map("4/1").shape == (256, 256)


def test_values_of_a_draw_that_no_test_has_are_refused():
    for values, words in (
        ({"counted": "all"}, "counted is all, and parts_by range, which takes the query's truth"),
        ({"counted": "shown", "empty_queries": False, "margin": 1}, "margin is 1, and counted shown"),
        ({"parts_by": "shown"}, "parts_by is shown, and counted range: other slices have no part"),
        ({"parts_by": "none"}, "parts_by is none, and parts 3; expected parts 1"),
        ({"shots": "slices"}, "shots is slices, parts_by range and parts 3; expected parts_by none and parts 1, which"),
        ({"parts": 0}, "parts is 0, expected 1 or more"),
        ({"parts": 0, "counted": "shown", "parts_by": "shown"}, "parts is 0, expected 1 or more"),
        ({"counted": "shown", "parts_by": "shown"}, "empty_queries is true, and counted shown"),
    ):
        with pytest.raises(SettingsError, match=words):
            replace(load_protocol("alpnet").draw, **values).check()


def test_each_test_says_what_it_uses_of_the_truth_of_a_query(data):
    def told(name, **values):
        draw = replace(load_protocol(name).draw, **values)
        return " ".join(draw.notes(manifest(data, protocol="alpnet").header)), draw.uses_truth

    for name in ("adnet", "alpnet_all_slices"):
        words, uses_truth = told(name)
        assert "nothing of a query's truth is used" in words and not uses_truth
    for name in ("qnet", "adnet_ep1"):
        words, uses_truth = told(name)
        assert "only slices whose truth shows the class are asked" in words and uses_truth
    wide = told("alpnet", margin=None)[0]
    assert "nobody tests so" in wide and "are adnet and alpnet_all_slices" in wide
    assert "nobody tests so" not in told("alpnet")[0] and told("alpnet")[1]
    assert "in every slice of a scan, and nobody tests so. Which support a query gets follows" in wide
    for values, decided in (
        ({}, "the first to the last slice that shows it, as ALPNet counts it. Which support"),
        ({"margin": 2}, "the first to the last slice that shows it, and 2 beside. Which support"),
        ({"parts_by": "none", "parts": 1}, "that shows it, as ALPNet counts it; without the truth"),
        ({"parts_by": "scan", "counted": "shown", "empty_queries": False}, "are asked and count; without the truth"),
    ):
        assert decided in told("alpnet", **values)[0]
    conditions = {name: load_protocol(name).conditions("chaost2") for name in ("alpnet", "adnet", "qnet")}
    assert len({one["episodes_per_fold"] for one in conditions.values()}) == 3


@pytest.mark.parametrize(
    ("values", "used"),
    [
        ({"counted": "range", "parts_by": "none", "parts": 1}, "which slices are asked"),
        ({"counted": "range", "parts_by": "scan"}, "which slices are asked"),
        ({"counted": "shown", "parts_by": "none", "parts": 1, "empty_queries": False}, "which slices are asked"),
        ({"counted": "shown", "parts_by": "shown", "empty_queries": False}, "which slices are asked, and their parts"),
        ({"counted": "shown", "parts_by": "range", "empty_queries": False}, "which slices are asked, and their parts"),
        ({"counted": "all", "parts_by": "none", "parts": 1}, "not used"),
        ({"counted": "all", "parts_by": "scan"}, "not used"),
        ({"margin": None, "parts_by": "scan"}, "not used"),
    ],
)
def test_what_is_used_of_the_truth_is_told_alike_in_each_place(values, used):
    draw = replace(load_protocol("alpnet").draw, **values)
    draw.check()
    (choice,) = (one.words for one in draw.choices() if one.label == "truth of the query")
    assert choice == used and draw.uses_truth == (used != "not used")
    nothing = "Nothing of a query's truth is used" in draw.description
    assert not (nothing and draw.uses_truth)
    if values.get("parts_by") == "none" and draw.uses_truth:
        assert "A scan has one part, and its truth tells which slices are asked;" in draw.description


def test_setting_2_leaves_out_what_the_programs_leave_out(data):
    names = [name for scan in data.scans for name in data.slices(scan)]
    shown = {name: {number for number in (2, 3) if (data.label_map(name) == number).any()} for name in names}
    expected = {True: {name for name in names if shown[name]}, False: {n for n in names if len(shown[n]) == 2}}
    assert expected[True] > expected[False]
    for name in ("alpnet", "alpnet_all_slices", "adnet", "adnet_ep1", "qnet"):
        draw = load_protocol(name).draw
        assert draw.filters_any == name.startswith("alpnet")
        assert slices_with_test_classes(data, 0, names, not draw.filters_any) == expected[draw.filters_any]
        (told,) = (one.words for one in draw.choices() if one.label == "setting 2 of training")
        assert ("any class" in told) == draw.filters_any and ("all classes" in told) != draw.filters_any


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


@pytest.mark.parametrize("name", ["2007_000032", "8/-1", "8/x"])
def test_a_name_of_no_slice_is_no_image_of_scans(data, name):
    drawn = manifest(data, episodes=8)
    photo = replace(drawn.episodes[0], query=name)
    with pytest.raises(DataError, match=r"does not fit the data|is no slice of a scan"):
        check_fits(Manifest(drawn.entries, (photo, *drawn.episodes[1:])), data, "m.jsonl")


def test_names_tell_scan_and_slice():
    assert scan_of("10/7") == "10" and slice_number("10/7") == 7
    assert np.array_equal([slice_number(f"1/{z}") for z in (0, 12)], [0, 12])
