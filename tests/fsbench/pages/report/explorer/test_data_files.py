"""The explorer's data files against the records and the data set."""

import shlex
import zlib
from base64 import b64decode

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.rle import decode_rle
from fsbench.datamodules.datasets.folder import Folder
from fsbench.pages.report.explorer.columns import iou_spread
from fsbench.records.predictions import read_predictions
from fsbench.records.record import find_records
from tests.data_modules import episodic
from tests.fsbench.pages.report.explorer.conftest import ATTENDS
from tests.fsbench.pages.report.test_report import data_file
from tests.fsbench.runs import rewrite


def thousandths(frame):
    """IoU of each episode of a count table as the page shows it, from its definition."""
    found = []
    for (_,), rows in frame.filter(pl.col("slot") > 0).sort("episode").group_by("episode", maintain_order=True):
        pairs = [(row["tp"], row["pred"] + row["pred_void"] + row["gt"] - row["tp"]) for row in rows.to_dicts()]
        shares = [hit / union for hit, union in pairs if union]
        found.append(round(1000 * np.mean(shares)) if shares else -1)
    return found


def test_columns_are_the_records(study):
    data = data_file(study, "data")
    runs = {(run.run.identity.method.name, run.header.fold): run for run in find_records(study.parents[1])}
    for number, name in enumerate(data["methods"]):
        tables = [runs[name, fold].episodes for fold in (0, 1)]
        assert data["iou"][number] == thousandths(tables[0]) + thousandths(tables[1])
        wrong = [
            sum(rows["present"] != rows["decided"])
            for table in tables
            for _, rows in table.filter(pl.col("slot") > 0).group_by("episode", maintain_order=True)
        ]
        assert data["wrong"][number] == wrong
    columns, names = data["columns"], data["names"]
    episodes = [episode for fold in (0, 1) for episode in runs["m0", fold].manifest.episodes]
    assert columns["index"] == [episode.number for episode in episodes]
    assert [names[number] for number in columns["query"]] == [episode.query for episode in episodes]
    supports = [tuple(tuple(names[number] for number in way) for way in ways) for ways in columns["supports"]]
    assert supports == [episode.supports for episode in episodes]
    paths = [[str(runs[name, fold].path) for name in data["methods"]] for fold in (0, 1)]
    assert [list(map(shlex.split, fold["runs"])) for fold in data["folds"]] == [[[p] for p in row] for row in paths]
    assert [fold["header"] for fold in data["folds"]] == [runs["m0", fold].manifest.entries for fold in (0, 1)]


def test_spread_counts_rightly_predicting_nothing_as_one():
    first, second = np.array([0.9, np.nan, np.nan]), np.array([0.5, 0.25, np.nan])
    np.testing.assert_allclose(iou_spread([first, second], 3), [0.4, 0.75, np.nan])
    np.testing.assert_allclose(iou_spread([], 1), [np.nan])


def test_masks_are_truth_and_prediction(study, dataset):
    data, records = data_file(study, "data"), {run.run.id: run for run in find_records(study.parents[1])}
    record = next(run for run in records.values() if run.run.id.startswith(f"{data['methods'][1]}-1"))
    file, quality = data_file(study, "masks-1-0"), int(record.run.id.split("-")[2])
    for place, episode in enumerate(record.manifest.episodes):
        expected = way_labels(dataset.label_map(episode.query), episode.classes)
        height, width, ways, void = file["truth"][place]["query"]
        assert (height, width) == expected.shape
        assert data["columns"]["empty"][24 + place] == (not ((expected > 0) & (expected < 255)).any())
        height, width, predicted, decided, scores = file["predicted"]["1"][place]
        shown = (np.arange(height) % quality == 0)[:, None]
        for slot in range(1, len(episode.classes) + 1):
            mask = decode_rle({"size": [height, width], "counts": ways[slot - 1]}, height, width)
            np.testing.assert_array_equal(mask, expected == slot)
            mask = decode_rle({"size": [height, width], "counts": predicted[slot - 1]}, height, width)
            np.testing.assert_array_equal(mask, (expected == slot) & shown)
        assert decode_rle({"size": [height, width], "counts": void}, height, width).sum() == (expected == 255).sum()
        rows = record.episodes.filter((pl.col("episode") == episode.number) & (pl.col("slot") > 0))
        assert (decided, scores) == (rows["decided"].to_list(), rows["score"].to_list())
        for name, number, way in zip(episode.supports, episode.classes, file["truth"][place]["supports"], strict=True):
            height, width, runs, _ = way[0]
            assert max(height, width) <= 40
            mask = decode_rle({"size": [height, width], "counts": runs}, height, width)
            share = (dataset.label_map(name[0]) == number).mean()
            assert mask.mean() == pytest.approx(share, abs=0.03)
    for number in data["images"]:
        assert max(Image.open(study / f"explorer/{number}.jpg").size) <= 40


@pytest.mark.slow(2)
def test_images_end_at_the_budget(study, explored, monkeypatch):
    from fsbench.pages.report.explorer import write

    sizes = {path.stem: path.stat().st_size for path in (study / "explorer").glob("*.jpg")}
    real = write.ImageFiles.allow
    budget = sum(sizes.values()) // 4
    monkeypatch.setattr(write.ImageFiles, "allow", lambda files, size: real(files, budget // 2))
    study = explored("--photo-side", "40")
    files = {path.stem: path.stat().st_size for path in (study / "explorer").glob("*.jpg")}
    data = data_file(study, "data")
    assert 0 < sum(files.values()) <= budget and sorted(map(int, files)) == data["images"]
    assert "Only episodes on which methods differ most have images" in (study / "explorer.html").read_text()
    spread = data["columns"]["spread"][:24]
    assert data["columns"]["query"][spread.index(max(spread))] in data["images"]


@pytest.mark.slow(2)
def test_supports_are_drawn_with_what_the_method_was_told(make, blocks_folder, tmp_path, monkeypatch):
    """Against the tensors that the methods got in their tests."""
    entries = {"strokes": {"support_annotation": "scribble"}, "parts": {"kept_support": 0.25}, "masks": {}}
    words = {"strokes": "brush strokes drawn within each mask", "parts": "25 % of each mask"}
    dataset = Folder(str(blocks_folder))
    modules = {
        name: episodic(dataset, "fscs", image_size=48, workers=0, episodes=6, **entry)
        for name, entry in entries.items()
    }
    monkeypatch.setattr(
        "fsbench.runner.engine.stored_data.open_data_module",
        lambda record, *given, **shared: modules[record.run.identity.method.name],
    )
    for name, entry in entries.items():
        record = make(name, 0, episodes=6)
        assert record.manifest.sha256 == modules[name].manifest.sha256
        rewrite(record, identity=entry)
        (record.path / "config.yaml").write_text("")
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), "--photo-side", "48", "--metrics", "mIoU"]) == 0
    study = next(folder for folder in (tmp_path / "r").iterdir() if (folder / "explorer.html").is_file())
    numbers = {name: str(number) for number, name in enumerate(data_file(study, "data")["methods"])}
    assert (study / "explorer.html").read_text().count("add --gallery 12 to the command") == len(entries)  # unasked
    assert data_file(study, "data")["told"] == {numbers[name]: text for name, text in words.items()}
    file = data_file(study, "masks-0-0")
    assert set(file["told"]) == {numbers[name] for name in words}
    for name in words:
        data = modules[name]
        seen = {int(one.episodes[0]): one.support_labels for batch in data.test_dataloader() for one in batch.split()}
        for place, episode in enumerate(data.manifest.episodes):
            ((height, width, runs, void),) = file["told"][numbers[name]][place][0]
            assert max(height, width) == 48
            drawn = decode_rle({"size": [height, width], "counts": runs}, height, width)
            shape = data.dataset.label_map(episode.supports[0][0]).shape
            over_image = resize_labels(seen[episode.number][0, 0, 0].numpy(), *shape)
            expected = resize_labels(over_image, height, width)
            np.testing.assert_array_equal(drawn, expected == 1)
            left_out = decode_rle({"size": [height, width], "counts": void}, height, width)
            np.testing.assert_array_equal(left_out, expected == 255)


@pytest.mark.slow(1)
def test_runs_without_masks_and_data_have_numbers(make, tmp_path):
    """One of the two was told less than masks; without the data its supports have no labels."""
    make("m", 0)
    rewrite(make("boxes", 0), identity={"support_annotation": "box"})
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), "--metrics", "mIoU"]) == 0
    study = tmp_path / "r/study-1"
    number = str(data_file(study, "data")["methods"].index("boxes"))
    assert data_file(study, "masks-0-0") == {"truth": [None] * 24, "predicted": {}, "told": {number: [None] * 24}}
    page = (study / "explorer.html").read_text()
    assert "the run kept no predictions; add --gallery 12 to the command" in page
    assert "No truth and no images of fold 0: there is no config.yaml beside the records" in page
    assert "No labels of the supports of boxes, fold 0: there is no" in page


def test_soft_masks_and_attention_are_those_that_were_kept(study):
    data, runs = data_file(study, "data"), {run.run.id: run for run in find_records(study.parents[1])}
    assert (data["soft"], data["attention"]) == (True, {str(data["methods"].index("m0")): ATTENDS})
    record = next(run for run in runs.values() if run.run.id.startswith("m0-1"))
    stored, number = read_predictions(record), str(data["methods"].index("m0"))
    files = {layer: data_file(study, f"{layer}-1-0") for layer in ("soft", "attention")}
    assert (len(files["soft"]), len(files["attention"])) == (2, 1)
    for place, episode in enumerate(record.manifest.episodes):
        contents = {layer: [zlib.decompress(b64decode(way)) for way in files[layer][number][place]] for layer in files}
        assert contents["soft"] == [values.tobytes() for values in stored.soft_masks(episode.number)]
        for way, (content, values) in enumerate(
            zip(contents["attention"], stored.attention(episode.number), strict=True), 1
        ):
            np.testing.assert_array_equal(np.frombuffer(content[:8], "<f4"), np.float32([way, way + 189]) / 255)
            steps = np.frombuffer(content[8:], np.uint8).reshape(64, 64)
            np.testing.assert_allclose(values, (way + 189 * (steps / 255)) / 255, rtol=1e-5)
