"""Sums over stored masks follow from the run's own predictions, the data and the protocol's rules."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fsbench.base.files import sha256_file
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.records.predictions import FILE
from fsbench.records.record import read_record
from fsbench.results.tables.rescoring.mask_sums import BOUNDARY
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


def test_both_sums_are_measured_in_one_pass(record, measured):
    both, decoded = measured(record)
    assert decoded == 24 and both.boundary.any() and both.pixels.any() and not both.missing
    assert both.boundary.dtype == np.int64
    alone, _ = measured(record, BOUNDARY)
    assert np.array_equal(alone.boundary, both.boundary) and alone.pixels is None
    alone, _ = measured(record, PIXELS)
    assert np.array_equal(alone.pixels, both.pixels) and alone.boundary is None


def test_another_file_of_predictions_is_refused_unless_the_record_names_it(record, measured):
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
    assert not np.array_equal(again.pixels, first.pixels)
    (record.path / FILE).unlink()
    assert "kept no predictions" in measured(record)[0].missing[BOUNDARY]


def test_sums_follow_from_the_rule_for_void_pixels(record, measured, monkeypatch):
    first, _ = measured(record)
    fscs = load_protocol("fscs")
    other = replace(fscs, counting=replace(fscs.counting, void="ignore"))
    monkeypatch.setattr("fsbench.protocols.reading.load_protocol", lambda _: other)
    again, _ = measured(record)
    assert again.pixels.sum() < first.pixels.sum()


def test_a_run_without_soft_masks_has_boundaries_alone(make, measured):
    found, decoded = measured(make("m", 0, keep="masks"))
    assert decoded == 24 and found.boundary.any() and "no soft masks" in found.missing[PIXELS]


def test_presence_is_in_the_bin_of_its_score(make, measured):
    record = make("m", 0, wrong=5)
    found, decoded = measured(record, PRESENCE)
    frame, total = record.episodes, found.presence.sum((0, 1))
    rows, last = np.arange(len(frame)), np.where(frame["score"].to_numpy() == 1, 14, 0)
    assert decoded == 0 and (found.presence[rows, last, 0] == 1).all()
    assert total.tolist() == [len(frame), frame["score"].sum(), frame["present"].sum()]


def test_sums_are_the_accepted_ones():
    y, x = np.indices((40, 60))
    truth = np.where(np.hypot(y - 20, x - 25) < 14, 1, 0) + np.where(x > 45, 2, 0)
    truth[:3] = 255
    predicted = np.where(np.hypot(y - 22, x - 27) < 12, 1, 0) + np.where(x > 48, 2, 0)
    counts = boundary_counts(predicted.astype(np.uint8), truth.astype(np.uint8), 2, "ignore")
    soft = (255 * np.hypot(*np.indices((64, 64))) / 90).astype(np.uint8)
    sums = soft_mask_sums(soft, truth.astype(np.uint8), 1, "background")
    assert counts.tolist() == [[72, 301], [24, 168], [48, 133]]
    expected = [[109, 4.95294118, 0], [885, 327.70980392, 484], [1553, 988.25490196, 392]]
    assert sums[[0, 5, 9]] == pytest.approx(np.array(expected), abs=1e-7)
