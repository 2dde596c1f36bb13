"""The images that a record's counts depend on: read from the manifest, and never from the counts' file."""

import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.reading import load_protocol
from fsbench.records.counts import with_images
from fsbench.records.record import Record
from fsbench.scores.clusters import Design
from fsbench.scores.count_table import QUERIES, SUPPORTS
from fsbench.scores.rows import image_number
from tests.fsbench.runs import HEADER
from tests.fsbench.scores.once import scores_once


def numbers(names):
    return [image_number(name) for name in names]


def test_a_way_depends_on_its_own_supports_and_the_foreground_on_all(make):
    record = make("m", 0, way=2, shot=2)
    named = {episode.number: episode for episode in record.manifest.episodes}
    for episode, slot, supports in record.episodes.select("episode", "slot", SUPPORTS).iter_rows():
        ways = named[episode].supports
        assert supports == numbers(ways[slot - 1] if slot else [name for way in ways for name in way])
    statistics = record.protocol.statistics(record.episodes, record.header)
    assert statistics.rows.query.tolist()[::2] == numbers(named[number].query for number in sorted(named))
    assert statistics.rows.support.shape == (48, 2) and statistics.episodes.rows.support.shape == (24, 4)
    assert statistics.episodes.of_pair.tolist() == [place for place in range(24) for _ in range(2)]
    assert set(statistics.episodes.rows.cls.tolist()) == {0}  # an episode is about several classes


def test_the_images_of_rows_are_those_of_the_manifest(make):
    """The file of counts has none, and one that has is refused."""
    record = make("m", 0)
    assert not {SUPPORTS, QUERIES} & set(record.every_episode.columns)
    record.episodes.write_parquet(record.path / "episodes.parquet")
    with pytest.raises(RecordError, match=f"it has an unknown column '{SUPPORTS}'"):
        _ = Record(record.path, record.run).episodes


def test_ways_of_a_classification_have_their_queries_and_the_supports_of_all(classified):
    record = classified("m", 1)
    first = record.manifest.episodes[0]
    rows = record.episodes.filter(pl.col("episode") == first.number)
    for way, own in enumerate(rows[QUERIES].to_list()):
        assert own == numbers(f"{first.classes[way]} {place}" for place in first.query[way])
    every = numbers(f"{cls} {place}" for cls, own in zip(first.classes, first.support, strict=True) for place in own)
    assert rows[SUPPORTS].to_list() == [every, every]
    statistics = record.protocol.statistics(record.episodes, record.header)
    design = Design([statistics.rows], [0])
    assert design.query_images == 18  # two classes of nine images, in all episodes together
    supports = {number for row in record.episodes[SUPPORTS].to_list() for number in row}
    assert set(statistics.rows.query.ravel().tolist()) == {n for row in record.episodes[QUERIES] for n in row}
    assert set(statistics.rows.support.ravel().tolist()) == supports


def test_a_class_without_supports_depends_on_all_of_the_episode():
    episode = Episode(0, "q", 1, (1, 2), ((), ("a", "b")))
    assert [(slot, list(names)) for slot, _, names in load_protocol("bam_gfss").counting.row_images(episode)] == [
        (0, ["a", "b"]), (1, ["a", "b"]), (2, ["a", "b"]),
    ]  # fmt: skip


def test_a_run_that_answers_all_queries_with_the_same_supports_is_one_cluster():
    classes = {"class_ids": [1, 2], "class_names": {"1": "a", "2": "b"}, "novel_ids": [2]}
    entries = HEADER | classes | {"protocol": "gfss", "run_lengths": [3, 3]}
    episodes = tuple(Episode(i, f"q{i % 3}", 1, (1, 2), ((), (f"s{i // 3}",))) for i in range(6))
    rows = [
        {"episode": i, "slot": slot, "class_id": slot, "query": f"q{i % 3}", "tp": 1 + i, "pred": 9, "gt": 9,
         "pred_void": 0, "void": 0, "valid": 50, "present": True, "decided": True}
        for i in range(6) for slot in range(3)
    ]  # fmt: skip
    manifest = Manifest(entries, episodes)
    frame = with_images(pl.DataFrame(rows), manifest)
    assert SUPPORTS not in frame.columns  # the run tells them
    statistics = load_protocol("gfss").statistics(frame, manifest.header)
    assert statistics.rows.fitted and statistics.rows.run.tolist() == [0] * 6 + [1] * 6
    by_run = scores_once([statistics.only(["mIoU-mean"])])["mIoU-mean"]
    assert by_run.supports == 2 and by_run.queries == 3
