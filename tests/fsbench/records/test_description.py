"""The notes under a table print a bounded part of what a record says of itself."""

import pytest

from fsbench.records.description import all_notes, shorter
from fsbench.records.run import ON_TRUST, STATED_VARIANT
from tests.fsbench.runs import changed


@pytest.fixture(scope="module")
def record(shared_make):
    return shared_make("m", 0)


def test_a_flood_of_remarks_is_shortened_with_a_count(record):
    remarks = ["x" * 9000, *(f"remark {i}" for i in range(500))]
    kernels = {"unordered_kernels": [f"kernel{i}" for i in range(500)]}
    flooded = changed(record, remarks=remarks, provenance=kernels)
    flooded.__dict__["header"] = record.header.model_copy(update={"dropped_classes": list(range(500))})
    lines = all_notes([flooded])
    assert max(map(len, lines)) < 500 and len(lines) < len(all_notes([record])) + 25
    assert f"m: {'x' * 300} … (9000 characters, the first 300 shown)" in lines
    assert "m: remark 18" in lines and "m: remark 19" not in lines and "m: … and 481 more" in lines
    (dropped,) = (line for line in lines if line.startswith("classes left out"))
    assert dropped.endswith(" 18, 19, … and 480 more")
    (unordered,) = (line for line in lines if "in no fixed order" in line)
    assert "kernel19, … and 480 more add" in unordered and "kernel20" not in unordered


def test_classes_that_are_left_out_have_names(record):
    lacking = changed(record, dropped_classes=["blue", "red"])
    lacking.__dict__["header"] = record.header.model_copy(update={"dropped_classes": [3, 1]})
    assert "classes left out, because they have too few images (DROP_SMALL): red, blue" in all_notes([lacking])
    older = changed(lacking, dropped_classes=...)
    assert "classes left out, because they have too few images (DROP_SMALL): 1, 3" in all_notes([older])


def test_what_is_short_is_printed_whole(record):
    remarks = [f"{i}" * 20 for i in range(10, 25)]
    lines = all_notes([changed(record, remarks=remarks)])
    assert [line for line in lines if line.startswith("m: ")] == [f"m: {remark}" for remark in remarks]


def test_the_same_remark_on_several_runs_comes_once_with_the_methods(record, shared_make):
    runs = [changed(one, remarks=["derived lists"]) for one in (record, shared_make("n", 0), record)]
    assert [line for line in all_notes(runs) if "derived lists" in line] == ["m, n: derived lists"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("random (seed 0)", "backbone b has random (seed 0) weights"),
        (f"random (seed 0) of sam_demo, official vit.safetensors sha256 {'0' * 64} of demo",
         "sam_demo has random (seed 0) weights"),
        ("random (seed 1) of demo, random (seed 2) of sam_demo",
         "demo has random (seed 1) and sam_demo has random (seed 2) weights"),
    ],
)  # fmt: skip
def test_networks_of_random_weights_are_named_without_those_of_official_ones(record, weights, expected):
    lines = all_notes([changed(record, {"backbone": {"weights": weights}})])
    assert [line for line in lines if "random" in line] == [f"m: {expected}; the scores mean nothing"]


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ({"failed_episodes": 1}, "m: 1 episode failed; it counts as an empty prediction"),
        ({"failed_episodes": 3}, "m: 3 episodes failed; they count as empty predictions"),
        ({"identity": {"support_annotation": "all_ways"}},
         "m: sees in a support the masks of all ways of the episode, where other methods see only one way"),
    ],
)  # fmt: skip
def test_what_holds_of_a_run_alone_is_said(record, entries, line):
    assert line in all_notes([changed(record, **entries)]) and line not in all_notes([record])
    assert not any("failed" in line for line in all_notes([record]))


def test_a_variant_that_is_taken_on_trust_is_said(record):
    for variant, count in ((ON_TRUST, 1), (STATED_VARIANT, 0), (None, 0), (..., 0)):
        lines = all_notes([changed(record, checkpoint_variant=variant)])
        assert sum("does not say for which variant" in line for line in lines) == count


def test_a_test_with_fewer_episodes_than_asked_for_says_so(record):
    asked = changed(record)
    asked.__dict__["header"] = record.header.model_copy(update={"requested": 1000})
    there = len(record.manifest.official_episodes)
    assert shorter([record]) == []
    assert shorter([asked]) == [f"fold 0 has only {there} of the 1000 episodes that were asked for"]
