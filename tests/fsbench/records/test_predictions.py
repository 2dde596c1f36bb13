"""Predictions that a run keeps: equal to what was predicted, whole or absent."""

import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import polars as pl
import pytest
import torch

from fsbench.base.errors import RecordError
from fsbench.core.prediction import Prediction
from fsbench.data.rle import encode_ways
from fsbench.records.counts import to_frame
from fsbench.records.journal import Journal
from fsbench.records.predictions import FILE, read_predictions, write_predictions
from fsbench.records.record import read_record
from fsbench.scores.answers import SOFT_SIDE
from tests.fsbench.records.test_record import manifest, result
from tests.fsbench.runs import reseal, written

ID = "ab" * 32


def soft_result(number, ways=2, attends=False):
    rng = np.random.RandomState(number)
    soft, steps = (rng.randint(0, 256, (ways, SOFT_SIDE, SOFT_SIDE)).astype(np.uint8) for _ in range(2))
    ranges = 0.004 * (1 + np.arange(ways)[:, None, None])  # as of small objects
    attention = (0.001 + ranges * steps / 255).astype(np.float32) if attends else None
    found = result(number, ways)
    score = found.decided.astype(np.float32) / 3
    return replace(found, label_map=found.label_map.astype(np.uint8), soft=soft, score=score, attention=attention)


def finished(folder, keep="soft", episodes=4, attends=False):
    """Write a run of two ways from its journal; `keep` as the option."""
    folder.mkdir()
    journal = Journal(folder / "evaluation", ID)
    writer = journal.open()
    results = [soft_result(i, attends=attends) for i in reversed(range(episodes))]
    writer.add(results, lambda _: keep)
    writer.close()
    frame = to_frame(journal.rows(), manifest(episodes, 2))
    more = {"attention": "of a test"} if write_predictions(folder, journal.predictions(), frame, keep) else {}
    manifest(episodes, 2).write(folder / "manifest.jsonl")
    written(folder, frame, {"manifest_sha256": manifest(episodes, 2).sha256}, **more)
    return read_record(folder)


@pytest.mark.parametrize("keep", ["masks", "soft"])
def test_stored_predictions_are_those_that_were_made(tmp_path, keep):
    stored = read_predictions(finished(tmp_path / "run", keep))
    assert stored.has_soft_masks == (keep == "soft")
    for number in range(4):
        made = soft_result(number)
        np.testing.assert_array_equal(stored.label_map(number), made.label_map)
        assert stored.decided(number) == made.decided.tolist()
        soft = stored.soft_masks(number)
        assert soft is None if keep == "masks" else np.array_equal(soft, made.soft)


def test_attention_is_kept_with_its_meaning_and_leaves_all_else_as_it_is(tmp_path):
    attends, plain = finished(tmp_path / "attends", attends=True), finished(tmp_path / "plain")
    assert attends.run.attention == "of a test" and not plain.run.attention
    stored, without = read_predictions(attends), read_predictions(plain)
    assert (stored.has_attention, without.has_attention, without.attention(0)) == (True, False, None)
    for number in range(4):
        made = soft_result(number, attends=True)
        attention, step = stored.attention(number), np.array([0.004, 0.008])[:, None, None] / 255
        assert (np.abs(attention - made.attention) < 0.51 * step).all()
        np.testing.assert_array_equal(stored.soft_masks(number), made.soft)
    tables = [pl.read_parquet(record.path / FILE) for record in (attends, plain)]
    assert tables[0].columns[-1] == "attention" and tables[0].drop("attention").equals(tables[1])  # as before


def test_nothing_is_kept_where_nothing_is_asked_for(tmp_path):
    record = finished(tmp_path / "run", "none")
    assert FILE not in record.run.files and read_predictions(record) is None
    (record.path / FILE).write_bytes(b"of an earlier start")
    assert not write_predictions(record.path, [], record.episodes, "none") and not (record.path / FILE).exists()


def test_an_episode_is_done_when_as_much_is_kept_as_is_asked_for(tmp_path):
    """A run that went on with another choice is whole all the same."""
    journal = Journal(tmp_path, ID)
    writer = journal.open()
    kept = dict(enumerate(("none", "masks", "soft")))
    writer.add([soft_result(i) for i in kept], kept.__getitem__)
    assert (journal.done(), journal.done("masks"), journal.done("soft")) == ({0, 1, 2}, {1, 2}, {2})
    frame = to_frame(journal.rows(), manifest(3, 2))
    with pytest.raises(RecordError, match="prediction of episode 0 is missing; run the same command again"):
        write_predictions(tmp_path, journal.predictions(), frame, "soft")
    writer.add([soft_result(0), soft_result(1)], lambda _: "soft")
    assert journal.done("soft") == {0, 1, 2}
    write_predictions(tmp_path, journal.predictions(), frame, "soft")
    whole = finished(tmp_path / "whole", "soft", 3)
    assert (tmp_path / FILE).read_bytes() == (whole.path / FILE).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run whose predictions tests damage."""
    return finished(tmp_path_factory.mktemp("whole") / "run", attends=True)


@pytest.fixture
def damaged(whole):
    """damaged(**columns) -> the run with other columns of its predictions, sealed again."""
    file = whole.path / FILE
    content = file.read_bytes()

    def damage(**columns):
        pl.read_parquet(BytesIO(content)).with_columns(**columns).write_parquet(file)
        return reseal(whole)

    yield damage
    file.write_bytes(content)


def test_a_file_that_is_not_the_runs_is_refused_in_one_line(damaged):
    largest = pl.lit(2**31 - 1, pl.Int32)
    for columns in (
        {"rle": pl.lit(None, pl.String)},
        {"height": largest, "width": largest},
        {"height": pl.lit(0, pl.Int32)},
        {"rle": pl.lit("1" * 1000)},
    ):
        record = damaged(**columns)
        with pytest.raises(RecordError, match=r"predictions.parquet cannot be used ") as refusal:
            read_predictions(record)
        assert refusal.value.folder == record.path and "\n" not in str(refusal.value)


def test_a_mask_that_is_none_is_refused(damaged):
    for runs in ("", "\x01é", encode_ways(np.zeros((5, 5), np.uint8), 1)[0], "P" * 3, "o" * 50):
        stored = read_predictions(damaged(rle=pl.when(pl.col("slot") == 2).then(pl.lit(runs)).otherwise("rle")))
        with pytest.raises(RecordError, match=r"cannot be used \(.* in episode 3"):
            stored.label_map(3)
    stored = read_predictions(damaged(rle=pl.col("rle").first().over("episode")))
    with pytest.raises(RecordError, match="way 2 has pixels of another way in episode 0"):
        stored.label_map(0)
    with pytest.raises(RecordError, match="no episode 99"):
        stored.label_map(99)


def test_a_map_of_another_size_is_refused(damaged):
    for content in (b"x", zlib.compress(bytes(4095)), zlib.compress(bytes(1 << 24))):
        stored = read_predictions(damaged(soft=pl.lit(content), attention=pl.lit(content)))
        for name, read in (("soft", stored.soft_masks), ("attention", stored.attention)):
            with pytest.raises(RecordError, match=name):
                read(1)


def test_attention_is_averaged_to_cells_or_enlarged_between_their_centers():
    large = torch.rand(2, 128, 192, generator=torch.Generator().manual_seed(0))
    cells = large.view(2, 64, 2, 64, 3).mean((2, 4))
    found = Prediction(torch.zeros(4, 4), attention=large).attention_maps(SOFT_SIDE)
    torch.testing.assert_close(found, cells)
    small = torch.tensor([[[0.0, 1.0], [0.5, 1.5]]])  # a value above 1 is 1
    found = Prediction(torch.zeros(4, 4), attention=small).attention_maps(4)
    share = torch.tensor([0.0, 0.25, 0.75, 1.0])  # of a cell's center between those of the two columns or rows
    rows = small[0, 0] + share[:, None] * (small[0, 1] - small[0, 0])
    expected = (rows[:, :1] + share * (rows[:, 1:] - rows[:, :1])).clamp(max=1)
    torch.testing.assert_close(found[0], expected)
    assert Prediction(torch.zeros(4, 4)).attention_maps(SOFT_SIDE) is None


def test_a_soft_mask_is_the_mean_probability_of_each_part():
    probability = torch.rand(2, 128, 192, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = torch.stack([torch.zeros_like(probability), torch.logit(probability)], 1).float()
    expected = probability.view(2, 64, 2, 64, 3).mean((2, 4)) * 255
    soft = Prediction(torch.zeros(128, 192), logits=logits).soft_masks(SOFT_SIDE)
    assert soft.dtype == torch.uint8 and (soft.double() - expected).abs().max() <= 0.5 + 1e-4
    assert Prediction(torch.zeros(4, 4)).soft_masks(SOFT_SIDE) is None
