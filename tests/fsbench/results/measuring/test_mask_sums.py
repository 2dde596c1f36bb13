"""Sums over stored masks follow from the run's own predictions, the data and the protocol's rules."""

from dataclasses import replace
from functools import partial
from math import nan

import numpy as np
import polars as pl
import pytest

from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.records.predictions import FILE
from fsbench.records.record import read_record
from fsbench.results.measuring.measures import measure
from fsbench.results.rows.row import CLASS, SIZE, scores_of
from fsbench.results.tables.table import build_blocks
from fsbench.scores.boundary import boundary_counts
from fsbench.scores.calibration import soft_mask_sums
from fsbench.scores.confusion import VOID_RULES
from fsbench.scores.sums import Pixels
from tests.fsbench.runs import reseal

BOUNDARY, PIXELS, PRESENCE = "boundary-IoU", "pixel-ECE", "presence-ECE"


ACCEPTED = {
    "boundary-IoU": (17.946098489273666, 13.705871371508973, 22.18632560703836),
    "pixel-ECE": (1.8649231371816821, nan, nan),
    "pixel-CE2": (5.574029019845007, 2.7115298931829694, 7.401837924902417),
    "presence-ECE": (12.5, nan, nan),
    "presence-CE2": (10.32418788194436, 0.0, 18.67991932580359),
}
"""Score -> value and interval."""
RED = {
    "boundary-IoU": 21.734357848518112, "pixel-ECE": 2.085915017472778, "pixel-CE2": 5.710182921954721,
    "presence-ECE": 17.647058823529413, "presence-CE2": 11.049279183605034,
}  # fmt: skip
SMALL = {
    "boundary-IoU": 27.0618062509321, "pixel-ECE": 3.552330022918245, "pixel-CE2": 8.89090270873504,
    "presence-ECE": 20.0, "presence-CE2": 0.0,
}  # fmt: skip
"""Values of the class red, and of objects of 5 to 10 %."""


@pytest.fixture
def record(make):
    return make("m", 0, quality=2, way=2, keep="soft", spill=True)


@pytest.fixture
def decoded():
    """Numbers of the episodes whose truth was read."""
    return []


@pytest.fixture
def open_truth(blocks_folder, decoded):
    """Opens the truth of a record."""
    data = Folder(str(blocks_folder))

    def open_truth(record):
        episodes = {episode.number: episode for episode in record.manifest.episodes}

        def truth(number):
            decoded.append(number)
            return way_labels(data.label_map(episodes[number].query), episodes[number].classes)

        return truth

    return open_truth


@pytest.fixture
def measured(open_truth, decoded):
    """measured(record, *metrics) -> its measures, read anew, and how many episodes were decoded for them."""

    def make(record, *metrics):
        decoded.clear()
        return measure(read_record(record.path), metrics or (BOUNDARY, PIXELS), open_truth), len(decoded)

    return make


def test_both_sums_are_measured_in_one_pass(record, measured):
    both, decoded = measured(record)
    assert decoded == 24 and both.rows["boundary"].any() and both.rows["pixel_bins"].any() and not both.missing
    assert both.rows["boundary"].dtype == np.int64
    alone, _ = measured(record, BOUNDARY)
    assert alone.rows.keys() == {"boundary"} and np.array_equal(alone.rows["boundary"], both.rows["boundary"])
    alone, _ = measured(record, PIXELS)
    assert alone.rows.keys() == {"pixel_bins"} and np.array_equal(alone.rows["pixel_bins"], both.rows["pixel_bins"])


def test_sums_of_one_function_are_measured_once(record, measured):
    found, decoded = measured(record, PIXELS, "pixel-CE2")
    assert decoded == 24 and found.rows["pixel_bins"] is found.rows["pixel_errors"]


def test_scores_are_the_accepted_ones(make, open_truth):
    """Values, intervals and parts, as they were when each of these scores was measured by a function of its own."""
    record = make("m", 0, quality=2, way=2, keep="soft", spill=True, wrong=3)
    measures = partial(measure, metrics=tuple(ACCEPTED), open_truth=open_truth)
    (block,) = build_blocks([record], metrics=list(ACCEPTED), measure=measures, by=("size", "class"))
    ((line, scores),) = block.lines.items()
    found = {name: (one.value, one.low, one.high) for name, one in scores.items()}
    assert found.keys() == ACCEPTED.keys()
    for name, values in ACCEPTED.items():
        assert found[name] == pytest.approx(values, rel=1e-12, abs=1e-12, nan_ok=True), name
    for kind, part, expected in ((CLASS, "red", RED), (SIZE, "5-10", SMALL)):
        of_part = scores_of(block.parts(kind)[line][part])
        assert {name: one.value for name, one in of_part.items()} == pytest.approx(expected, rel=1e-12)


def test_another_file_of_predictions_is_refused_unless_the_record_names_it(record, measured):
    first, _ = measured(record)
    frame = pl.read_parquet(record.path / FILE)
    frame.with_columns(soft=frame["soft"].gather([*range(1, len(frame)), 0])).write_parquet(record.path / FILE)
    refused, decoded = measured(record)
    assert decoded == 0 and set(refused.missing) == {BOUNDARY, PIXELS} and not refused.rows
    assert "is of another run" in refused.missing[PIXELS]
    again, decoded = measured(reseal(record))
    assert decoded == 24 and np.array_equal(again.rows["boundary"], first.rows["boundary"])
    assert not np.array_equal(again.rows["pixel_bins"], first.rows["pixel_bins"])
    (record.path / FILE).unlink()
    assert "kept no predictions" in measured(record)[0].missing[BOUNDARY]


def test_sums_follow_from_the_rule_for_void_pixels(record, measured, monkeypatch):
    first, _ = measured(record)
    fscs = load_protocol("fscs")
    other = replace(fscs, counting=replace(fscs.counting, void="ignore"))
    monkeypatch.setattr("fsbench.protocols.reading.load_protocol", lambda _: other)
    again, _ = measured(record)
    assert again.rows["pixel_bins"].sum() < first.rows["pixel_bins"].sum()


def test_a_run_without_soft_masks_has_boundaries_alone(make, measured):
    found, decoded = measured(make("m", 0, keep="masks"))
    assert decoded == 24 and found.rows["boundary"].any() and "no soft masks" in found.missing[PIXELS]


def test_presence_is_in_the_bin_of_its_score(make, measured):
    record = make("m", 0, wrong=5)
    found, decoded = measured(record, PRESENCE)
    frame, total = record.episodes, found.rows["presence_bins"].sum((0, 1))
    rows, last = np.arange(len(frame)), np.where(frame["score"].to_numpy() == 1, 14, 0)
    assert decoded == 0 and (found.rows["presence_bins"][rows, last, 0] == 1).all()
    assert total.tolist() == [len(frame), frame["score"].sum(), frame["present"].sum()]


def test_sums_are_the_accepted_ones():
    y, x = np.indices((40, 60))
    truth = np.where(np.hypot(y - 20, x - 25) < 14, 1, 0) + np.where(x > 45, 2, 0)
    truth[:3] = 255
    predicted = np.where(np.hypot(y - 22, x - 27) < 12, 1, 0) + np.where(x > 48, 2, 0)
    soft = (255 * np.hypot(*np.indices((64, 64))) / 90).astype(np.uint8)
    pixels = Pixels(predicted.astype(np.uint8), truth.astype(np.uint8), 2, VOID_RULES["ignore"], soft[None])
    counts = boundary_counts(pixels)
    nothing, sums, _ = soft_mask_sums(replace(pixels, void_rule=VOID_RULES["background"]))
    assert not nothing.any()
    assert counts.tolist() == [[72, 301], [24, 168], [48, 133]]
    expected = [[109, 4.95294118, 0], [885, 327.70980392, 484], [1553, 988.25490196, 392]]
    assert sums[[0, 5, 9]] == pytest.approx(np.array(expected), abs=1e-7)
