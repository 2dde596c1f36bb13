"""Records are complete or absent; nothing that is finished is lost."""

import json
import pickle

import numpy as np
import polars as pl
import pytest

from fsbench.base.errors import RecordError
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.records.counts import counts_sha256, to_frame
from fsbench.records.record import find_records, read_record
from fsbench.records.run import RunFacts
from fsbench.records.writing import write_files
from fsbench.scores.answers import SegmentationResult, count
from fsbench.scores.regions import slot_regions
from tests.fsbench.runs import ENTRIES, HEADER, IDENTITY, written


def result(number, ways=1):
    rng = np.random.RandomState(number)
    prediction = rng.randint(0, ways + 1, (6, 5))
    truth = np.random.RandomState(number // 2).randint(0, ways + 1, (6, 5))  # each query is that of two episodes
    present = np.array([bool((truth == n).any()) for n in range(1, ways + 1)])
    score = rng.rand(ways).astype(np.float32)
    return SegmentationResult(
        number, np.arange(1, ways + 1), count(prediction, truth, ways), present, ~present, score, prediction,
        *slot_regions(prediction, truth, ways),
    )  # fmt: skip


def manifest(count, ways=1):
    classes = tuple(range(1, ways + 1))
    episodes = tuple(Episode(i, f"q{i // 2}", 1, classes, (("s",),) * ways) for i in range(count))
    names = {str(number): f"class {number}" for number in classes}
    own = {"way": ways, "class_ids": list(classes), "class_names": names, "requested": len(episodes)}
    return Manifest(HEADER | own, episodes)


def rows(indices, ways=1):
    return [row for i in indices for row in result(i, ways).rows()]


def test_region_measures_are_kept_as_they_are():
    """Also through the journal's text, and in slot 0, which is any foreground."""
    expected = result(3, ways=2)
    stored = to_frame(json.loads(json.dumps(rows([0, 1, 2, 3], 2))), manifest(4, 2)).filter(pl.col("episode") == 3)
    assert stored["rom"].dtype == pl.Float32
    assert stored["rom"].to_list() == expected.rom.tolist() and stored["rum"].to_list() == expected.rum.tolist()


def test_order_and_repetition_of_results_do_not_matter():
    frames = [to_frame(rows(order, 2), manifest(4, 2)) for order in ([0, 1, 2, 3], [3, 1, 0, 2], [0, 2, 2, 1, 3, 0])]
    assert len({counts_sha256(frame) for frame in frames}) == 1
    assert frames[1]["episode"].to_list() == [e for e in range(4) for _ in range(3)]
    assert frames[0].filter(pl.col("slot") == 0)["query"].to_list() == ["q0", "q0", "q1", "q1"]
    other = [row | {"tp": row["tp"] + 1} for row in rows([2], 2)]  # an answer that came again counts as it came first
    assert counts_sha256(to_frame(rows(range(4), 2) + other, manifest(4, 2))) == counts_sha256(frames[0])
    assert counts_sha256(to_frame(other + rows(range(4), 2), manifest(4, 2))) != counts_sha256(frames[0])


def test_a_partial_result_is_no_record():
    with pytest.raises(RecordError, match=r"2 of 4 episodes were not evaluated \(first: \[1, 3\]\)"):
        to_frame(rows([0, 2]), manifest(4))


def test_a_written_record_is_found_with_what_follows_from_its_counts(tmp_path):
    assert read_record(tmp_path) is None
    frame = to_frame(rows(range(3)), manifest(3))
    finished(tmp_path / "run")
    (record,) = find_records(tmp_path)
    assert record.episodes["tp"].to_list() == frame["tp"].to_list()
    assert record.counts_sha256 == counts_sha256(frame) and record.failed_episodes == 0
    assert record.scores == pytest.approx(record.protocol.statistics(frame, record.header).scores(), nan_ok=True)
    sent = pickle.loads(pickle.dumps(record))  # to another process, which reads it
    assert sent == record and set(vars(sent)) == {"path", "run"}


def test_a_run_is_complete_when_others_were_told_of_it(tmp_path):
    """Or could not be; one that is interrupted meanwhile is not complete."""
    frame = to_frame(rows(range(3)), manifest(3))
    facts = RunFacts.model_validate(ENTRIES | {"identity": IDENTITY | {"manifest_sha256": manifest(3).sha256}})
    manifest(3).write(tmp_path / "manifest.jsonl")

    told = []

    def tell(record):
        assert record.episodes.height == 6 and find_records(tmp_path) == []
        raise ValueError("the network is down")

    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path, facts, frame, [tell, interrupt])
    assert find_records(tmp_path) == []
    with pytest.raises(ValueError, match="the network"):
        write_files(tmp_path, facts, frame, [tell, told.append])
    assert len(told) == 1
    (record,) = find_records(tmp_path)
    assert record == told[0] and record.run.files.keys() == {"manifest.jsonl", "episodes.parquet"}


def finished(folder, label="x"):
    """Write a finished run with a label."""
    folder.mkdir(parents=True)
    manifest(3).write(folder / "manifest.jsonl")
    identity = {"manifest_sha256": manifest(3).sha256}
    written(folder, to_frame(rows(range(3)), manifest(3)), identity, label=label)


def test_what_lies_within_a_run_and_runs_that_are_being_repeated_are_no_records(tmp_path):
    for name in ("outer", "outer/copy/inner", "more/other", "more/other.again", "more/.other.replaced"):
        finished(tmp_path / name)
    found = [record.path.relative_to(tmp_path).as_posix() for record in find_records(tmp_path)]
    assert found == ["more/other", "outer"]
    assert [record.path for record in find_records(tmp_path / "outer")] == [tmp_path / "outer"]
