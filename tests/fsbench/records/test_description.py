"""The notes under a table: what a reader must know of its runs."""

import polars as pl
import pytest

from fsbench.records.description import all_notes, shorter
from fsbench.records.run import ON_TRUST, STATED_VARIANT
from tests.fsbench.runs import changed


@pytest.fixture(scope="module")
def record(shared_make):
    return shared_make("m", 0)


def test_classes_that_are_left_out_have_names_and_many_are_counted(record):
    few, many = (changed(record, dropped_classes=names) for names in (["blue", "red"], [f"c{i}" for i in range(500)]))
    for lacking, numbers in ((few, [3, 1]), (many, list(range(500)))):
        lacking.__dict__["header"] = record.header.model_copy(update={"dropped_classes": numbers})
    lead = "classes left out, because they have too few images (DROP_SMALL): "
    assert f"{lead}red, blue" in all_notes([few])
    (line,) = (line for line in all_notes([many]) if line.startswith(lead))
    assert line.endswith("c19, … and 480 more")


def test_the_same_remark_on_several_runs_comes_once_with_the_methods(record, shared_make):
    runs = [changed(one, remarks=["derived lists"]) for one in (record, shared_make("n", 0), record)]
    assert [line for line in all_notes(runs) if "derived lists" in line] == ["m, n: derived lists"]


def test_networks_of_random_weights_are_named_without_those_of_official_ones(record):
    official = f"official vit.safetensors sha256 {'0' * 64} of demo"
    for weights, named in (
        ("random (seed 0)", "m: backbone b has random"),
        (f"random (seed 0) of sam_demo, {official}", "m: sam_demo has random"),
        ("random (seed 1) of demo, random (seed 2) of sam_demo", "and sam_demo has random"),
    ):
        (line,) = (
            line for line in all_notes([changed(record, {"backbone": {"weights": weights}})]) if "random" in line
        )
        assert named in line


def test_episodes_that_failed_are_counted_once_each(record):
    failing = changed(record)
    failed = pl.col("episode") < 3
    failing.__dict__["every_episode"] = record.every_episode.with_columns(failed.alias("failed"))
    assert [line for line in all_notes([failing]) if line.startswith("m: 3 episodes failed")]
    assert not any("failed" in line for line in all_notes([record]))


def test_a_method_that_sees_all_ways_and_a_variant_on_trust_are_said(record):
    usual = len(all_notes([record]))
    assert len(all_notes([changed(record, {"support_annotation": "all_ways"})])) == usual + 1
    for variant, more in ((ON_TRUST, 1), (STATED_VARIANT, 0)):
        assert len(all_notes([changed(record, checkpoint_variant=variant)])) == usual + more


def test_a_test_with_fewer_episodes_than_asked_for_says_so(record):
    asked = changed(record)
    asked.__dict__["header"] = record.header.model_copy(update={"requested": 1000})
    there = len(record.manifest.official_episodes)
    assert shorter([record]) == []
    assert shorter([asked]) == [f"fold 0 has only {there} of the 1000 episodes that were asked for"]
