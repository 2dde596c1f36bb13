"""FSSDINO's own protocol through the real command line on real photos: counts, table, pictures, refusals."""

import json
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fsbench.data.label_maps import stretch_truth
from fsbench.datamodules.datasets.coco import Coco
from fsbench.protocols.reading import load_segmentation
from fsbench.records.predictions import read_predictions
from fsbench.records.record import find_records
from fsbench.runner.engine.stored_data import open_truth
from tests.goldens.fssdino_metric import confusion_matrix

METHODS = ("fssdino", "prototype")


def by_definition(record, data) -> dict[str, float]:
    """mIoU and FB-IoU of a run's stored masks by one confusion matrix over the fold's classes (fssdino.md §4)."""
    classes = record.header.class_ids
    stored = read_predictions(record)
    total = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
    for episode in record.manifest.episodes:
        channel = 1 + classes.index(episode.query_class)
        truth = stretch_truth((data.label_map(episode.query) > 0).astype(np.uint8), 512)
        assert np.array_equal(open_truth(record)(episode.number), truth)
        predicted = stored.label_map(episode.number)
        total += confusion_matrix(truth * np.int64(channel), predicted * np.int64(channel), len(total))
    hits, unions = total.diagonal(), total.sum(0) + total.sum(1) - total.diagonal()
    iou = np.where(unions > 0, hits / np.maximum(unions, 1), 0)
    return {"mIoU": 100 * iou[1:].mean(), "FB-IoU-classes": 50 * (iou[1:].mean() + iou[0])}


@pytest.mark.slow
def test_real_photos_are_tested_tabled_and_drawn(warm, tmp_path, real_data):
    root, runs = real_data / "coco-mini", tmp_path / "runs"
    small = ["--backbone", "demo", "--data.image_size=128", "--data.loading.workers=0", "--data.test.episodes=5"]
    small.append("--drop-small")
    place = ["--dataset", "coco", "--data-root", str(root), "--runs", str(runs), "--fold", "1", "--shot", "2"]
    keep = ["--run.keep_predictions=soft"]
    done = warm("bench", "--method", ",".join(METHODS), "--protocol", "fssdino", *small, *place, *keep)
    assert done.returncode == 0, done.stderr
    assert "coco · 1-way 2-shot · original · no empty queries · protocol fssdino v1" in done.stdout
    assert "FB-IoU-classes: mean of the mIoU and the IoU of the background" in done.stdout
    records, data = list(find_records(runs)), load_segmentation("fssdino").draw.data(Coco(str(root)))
    assert len(records) == len(METHODS) and len({record.manifest_sha256 for record in records}) == 1
    for record in records:
        expected = by_definition(record, data)
        assert {name: record.scores[name] for name in expected} == pytest.approx(expected, abs=1e-9)
        shown = f"{expected['mIoU']:.2f}[ !].* {expected['FB-IoU-classes']:.2f}[ !]"
        name = record.path.name.partition("-")[0]
        assert re.search(rf"(?m)^{name} +{shown}", done.stdout)
        ways = record.episodes.filter(pl.col("slot") == 1)
        assert ways["void"].sum() == 0 and ways["gt"].min() > 0
        assert ways["decided"].to_list() == (ways["pred"] > 0).to_list()
        sizes = [data.label_map(episode.query).size for episode in record.manifest.episodes]
        assert ways["valid"].to_list() == sizes
        assert (record.path / "predictions.png").stat().st_size > 10_000
    paths = [str(record.path) for record in records]
    figure, sheets = tmp_path / "figure.png", tmp_path / "sheets"
    assert warm("explain", *paths, "--figure", str(figure)).returncode == 0 and figure.stat().st_size > 10_000
    done = warm("explain", *paths, "--episode", "3", "--out", str(sheets))
    assert done.returncode == 0, done.stderr
    with Image.open(next(sheets.glob("*.png"))) as sheet:
        assert sheet.size[0] > 300
    done = warm("report", str(runs), "--out", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    for command in (["table", str(runs), "--void", "ignore"], ["compare", str(runs)]):
        done = warm(*command)
        assert done.returncode == 0 and "FB-IoU-classes" in done.stdout, done.stderr
        assert not re.search(r"(?<!FSSDINO's )FB-IoU(?!-classes)", done.stdout)
    done = warm("table", str(runs), "--protocol", "fscs")
    assert "fssdino and fscs place masks on the query differently; evaluate again under fscs" in done.stdout
    done = warm("table", str(runs), "--metrics", "mIoU,FB-IoU,FB-IoU-classes", "--format", "json")
    assert done.returncode == 0 and json.loads(done.stdout)


@pytest.mark.slow
def test_a_trained_method_with_coarse_masks_is_tested_and_explained(warm, tmp_path, real_data):
    """Training under its own protocol, then the test of that checkpoint."""
    common = ["--method", "dcama", "--dataset", "coco", "--data-root", str(real_data / "coco-mini"), "--drop-small"]
    common += ["--data.loading.workers=0", "--data.test.episodes=2", "--backbone", "demo", "--data.image_size=64"]
    limits = [f"--trainer.{name}=1" for name in ("max_epochs", "limit_train_batches", "limit_val_batches")]
    runs, out = tmp_path / "runs", tmp_path / "explained"
    done = warm("bench", *common, "--runs", str(tmp_path / "training"), "--protocol", "hsnet", *limits)
    assert done.returncode == 0, done.stderr
    (checkpoint,) = tmp_path.glob("training/*/checkpoints/best.ckpt")
    done = warm("bench", *common, "--runs", str(runs), "--protocol", "fssdino", "--ckpt", str(checkpoint))
    assert done.returncode == 0, done.stderr
    listed = warm("table", str(runs), "--all").stdout
    assert "image lists: drawn from instances_val2014.json (sha256 " in listed
    (record,) = find_records(runs)
    done = warm("explain", str(record.path), "--out", str(out))
    assert done.returncode == 0, done.stderr
    drawn = json.loads((out / "explain.json").read_text())["drawn"]
    assert [line["episode"] for line in drawn] == [0, 1]


@pytest.mark.slow
def test_it_is_listed_and_other_requests_are_one_line(command, tmp_path, real_data, clones_data):
    assert re.search(r"(?m)^ +fssdino +Few-shot segmentation on COCO as FSSDINO's authors", command("list")[1])
    table = command("list", "protocols", "--format", "markdown")[1]
    assert "| original, from a 512 frame: " in table
    coco = ["--dataset", "coco", "--data-root", real_data / "coco-mini"]
    common = ["--backbone", "demo", "--data.image_size=64", "--runs", tmp_path / "runs", "--protocol", "fssdino"]
    for more, words in (
        ([*coco, "--drop-small", "--way", "2"], "protocol fssdino is 1-way, found way 2"),
        (coco, "too few images with large objects of some classes"),
        (["--dataset", "demo", "--data-root", clones_data / "demo"], "has no test of large objects"),
    ):
        status, _, err = command("bench", "--method", "prototype", *common, *more)
        assert status != 0 and words in err and "Traceback" not in err, err
