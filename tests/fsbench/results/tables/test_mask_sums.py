"""Sums over stored masks are measured once, and again wherever they may have changed."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fsbench.base.files import sha256_file
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.registry import load_protocol
from fsbench.records.predictions import FILE
from fsbench.records.record import read_record
from fsbench.results.tables.rescoring import mask_sums
from fsbench.results.tables.rescoring.mask_sums import BOUNDARY, MASK_SUMS_VERSION
from fsbench.results.tables.rescoring.measures import measure
from fsbench.scores.boundary import boundary_counts
from fsbench.scores.calibration import soft_mask_sums

PIXELS, PRESENCE = "pixel-ECE", "presence-ECE"


@pytest.fixture
def record(make):
    return make("m", 0, quality=2, way=2, keep="soft", spill=True)


@pytest.fixture
def measured(blocks_folder, monkeypatch):
    """measured(record, *metrics) -> its measures, read anew, and how many episodes were decoded for them."""
    index, decoded = Folder(str(blocks_folder)), []

    def open_truth(record):
        episodes = {episode.index: episode for episode in record.manifest.episodes}

        def truth(number):
            decoded.append(number)
            return way_labels(index.label_map(episodes[number].query), episodes[number].classes)

        return truth

    def make(record, *metrics):
        decoded.clear()
        return measure(read_record(record.path), metrics or (BOUNDARY, PIXELS), open_truth), len(decoded)

    return make


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boundary", "pixels"))


def kept(cache):
    return sorted((cache / "rows").iterdir())


def test_masks_are_measured_once(record, measured, cache):
    first, decoded = measured(record)
    assert decoded == 24 and first.boundary.any() and first.pixels.any() and not first.missing
    again, decoded = measured(record)
    assert decoded == 0 and same(first, again) and again.boundary.dtype == np.int64
    alone, decoded = measured(record, BOUNDARY)
    assert decoded == 0 and np.array_equal(alone.boundary, first.boundary) and alone.pixels is None
    alone, decoded = measured(record, PIXELS)
    assert decoded == 0 and np.array_equal(alone.pixels, first.pixels) and alone.boundary is None
    assert len(kept(cache)) == 1


def test_data_that_are_gone_take_no_measured_score_away(record, measured):
    first, _ = measured(record)

    def gone(_):
        raise AssertionError("the data are not asked for")

    assert same(first, measure(record, (BOUNDARY, PIXELS), gone))


def test_a_damaged_file_is_measured_again(record, measured, cache, monkeypatch):
    """Also one whose digest is right, and whose values are no sums."""
    first, _ = measured(record)
    (file,) = kept(cache)
    whole = file.read_text()
    values = json.loads(whole)
    values["row"]["boundary"] = values["row"]["pixels"]
    damaged = ["", "{}", "null", '{"sha256": "", "row": {}}', whole[: len(whole) // 2], json.dumps(values)]
    for text in (7, "", "AAAA", "é", "eJwDAAAAAAE="):
        file.unlink()
        with monkeypatch.context() as patched:
            patched.setattr(mask_sums, "array_as_text", lambda _, text=text: text)
            with pytest.raises((ValueError, TypeError)):
                measured(record)
        damaged.append(file.read_text())
    for content in damaged:
        assert content != whole
        file.write_text(content)
        again, decoded = measured(record)
        assert decoded == 24 and same(first, again) and file.read_text() == whole, content
        assert not list(file.parent.glob(".*"))  # written to another name, and renamed


def test_another_file_of_predictions_is_measured_again(record, measured, cache):
    first, _ = measured(record)
    frame = pl.read_parquet(record.path / FILE)
    frame.with_columns(soft=frame["soft"].gather([*range(1, len(frame)), 0])).write_parquet(record.path / FILE)
    refused, decoded = measured(record)
    assert decoded == 0 and set(refused.missing) == {BOUNDARY, PIXELS} and refused.pixels is None
    assert "it is not the file that run.json names" in refused.missing[PIXELS]
    run = json.loads((record.path / "run.json").read_text())
    run["predictions"]["sha256"] = sha256_file(record.path / FILE)
    (record.path / "run.json").write_text(json.dumps(run))
    again, decoded = measured(record)
    assert decoded == 24 and np.array_equal(again.boundary, first.boundary)
    assert not np.array_equal(again.pixels, first.pixels) and len(kept(cache)) == 2
    (record.path / FILE).unlink()
    assert "kept no predictions" in measured(record)[0].missing[BOUNDARY]


def test_another_rule_version_or_data_are_measured_again(record, measured, monkeypatch):
    first, _ = measured(record)
    with monkeypatch.context() as patched:
        other = replace(load_protocol("fscs"), void="ignore")
        patched.setattr("fsbench.protocols.registry.load_protocol", lambda _: other)
        again, decoded = measured(record)
        assert decoded == 24 and again.pixels.sum() < first.pixels.sum()
    with monkeypatch.context() as patched:
        patched.setattr(mask_sums, "MASK_SUMS_VERSION", MASK_SUMS_VERSION + 1)
        assert measured(record)[1] == 24
    run = json.loads((record.path / "run.json").read_text())
    run["identity"]["files_sha256"] = "of other files"
    (record.path / "run.json").write_text(json.dumps(run))
    assert measured(record)[1] == 24 and measured(record)[1] == 0


def test_a_run_without_soft_masks_is_not_read_again_for_them(make, measured):
    record = make("m", 0, keep="masks")
    for decoded in (24, 0):
        found, count = measured(record)
        assert count == decoded and found.boundary.any() and "no soft masks" in found.missing[PIXELS]


def test_presence_is_in_the_bin_of_its_score(make, measured):
    record = make("m", 0, wrong=5)
    found, decoded = measured(record, PRESENCE)
    frame, total = record.episodes, found.presence.sum((0, 1))
    rows, last = np.arange(len(frame)), np.where(frame["score"].to_numpy() == 1, 14, 0)
    assert decoded == 0 and (found.presence[rows, last, 0] == 1).all()
    assert total.tolist() == [len(frame), frame["score"].sum(), frame["present"].sum()]


def test_sums_change_only_with_their_version():
    """Numbers that grow wrong without a new `MASK_SUMS_VERSION` would be mixed with kept ones."""
    y, x = np.indices((40, 60))
    truth = np.where(np.hypot(y - 20, x - 25) < 14, 1, 0) + np.where(x > 45, 2, 0)
    truth[:3] = 255
    predicted = np.where(np.hypot(y - 22, x - 27) < 12, 1, 0) + np.where(x > 48, 2, 0)
    counts = boundary_counts(predicted.astype(np.uint8), truth.astype(np.uint8), 2, "ignore")
    soft = (255 * np.hypot(*np.indices((64, 64))) / 90).astype(np.uint8)
    sums = soft_mask_sums(soft, truth.astype(np.uint8), 1, "background")
    assert (MASK_SUMS_VERSION, counts.tolist()) == (1, [[72, 301], [24, 168], [48, 133]])
    expected = [[109, 4.95294118, 0], [885, 327.70980392, 484], [1553, 988.25490196, 392]]
    assert sums[[0, 5, 9]] == pytest.approx(np.array(expected), abs=1e-7)
