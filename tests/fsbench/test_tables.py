"""Tables from records: what stands together, when there is a mean, and the five formats."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from datamodules.folder import Folder
from fsbench.metrics import EpisodeResult, count
from fsbench.preprocess import way_labels
from fsbench.protocol import load_protocol
from fsbench.records import Record, result_rows, to_frame, write_record
from fsbench.render import FORMATS, render
from fsbench.tables import build_blocks
from fsbench.tasks import Task, build_manifest


@pytest.fixture
def make(blocks_folder, tmp_path):
    """make(method, fold, quality, **task) -> a record whose predictions show the truth on every `quality`-th row."""
    index, protocol = Folder(str(blocks_folder)), load_protocol("fscs")

    def make(
        method: str, fold: int, quality: int = 1, seed: int = 0, weights: str = "official x", training=None, **task
    ) -> Record:
        manifest = build_manifest(index, protocol, Task(fold, **{"episodes": 24, **task}))
        rows = []
        for e in manifest.episodes:
            truth = torch.from_numpy(way_labels(index.label_map(e.query), e.classes))
            prediction = torch.where(truth == 255, 0, truth).clone()
            prediction[torch.arange(len(prediction)) % quality != 0] = 0
            present = torch.tensor([bool((truth == n + 1).any()) for n in range(len(e.classes))])
            counts = count(prediction, truth, len(e.classes))
            result = EpisodeResult(
                e.index, torch.tensor(e.classes), counts, present, present, present.float(), prediction
            )
            rows += result_rows(result)
        folder = tmp_path / f"{method}-{fold}-{quality}-{seed}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        manifest.write(folder / "manifest.jsonl")
        identity = {
            "method": {"name": method}, "backbone": {"name": "b", "weights": weights}, "fold": fold, "seed": seed,
            "manifest_sha256": manifest.sha256, "training": training or {"validation_sha256": str(fold)},
        }  # fmt: skip
        cost = {"trainable_parameters": 86020, "episodes_per_second": 12.345, "peak_mib": 1234.5}
        run = {"id": folder.name, "identity": identity, "presence": "predicted", "cost": cost}
        return write_record(folder, run, to_frame(rows, manifest))

    return make


def lines(blocks):
    return [(row.method, row.fold) for block in blocks for row in block.rows]


def test_a_mean_only_where_every_fold_is_there(make):
    records = [make("good", 0), make("good", 1), make("bad", 0, quality=2)]
    (block,) = build_blocks(records)
    assert lines([block]) == [("good", "0"), ("good", "1"), ("good", "mean"), ("bad", "0")]
    by_key = {(row.method, row.fold): row for row in block.rows}
    folds = [by_key["good", fold].scores["mIoU"].value for fold in ("0", "1")]
    assert by_key["good", "mean"].scores["mIoU"].value == pytest.approx(sum(folds) / 2)
    assert folds[0] == pytest.approx(100) and by_key["bad", "0"].scores["mIoU"].value < 60
    assert by_key["good", "0"].trainable == 86020 and by_key["good", "mean"].trainable is None


def test_other_settings_and_other_episodes_never_share_a_block(make):
    records = [make("m", 0), make("m", 0, way=2), make("m", 0, setting="0-5"), make("m", 0, episodes=10)]
    blocks = build_blocks(records)
    assert len(blocks) == 4 and all(len(block.rows) == 1 for block in blocks)
    assert "2-way 1-shot" in blocks[1].title and "0-5" in blocks[2].title and "10 episodes" in blocks[3].title


def test_runs_of_one_method_that_differ_say_how(make):
    (block,) = build_blocks([make("m", 0, seed=0), make("m", 0, seed=1)])
    assert lines([block]) == [("m (seed 0)", "0"), ("m (seed 1)", "0")]


def test_records_that_were_found_twice_stand_once(make):
    record = make("m", 0)
    copy = Record(record.path, record.run)
    assert lines(build_blocks([record, copy])) == [("m", "0")]


def test_trained_runs_and_checkpoints_are_told_apart_shortly(make):
    checkpoints = [make("m", 0, training={"checkpoint_sha256": digit * 64}) for digit in "ab"]
    trained = [make("m", 0, training={"max_epochs": n, "validation_sha256": "0"}) for n in (1, 2)]
    (block,) = build_blocks([*checkpoints, *trained])
    labels = [row.method for row in block.rows]
    assert len(set(labels)) == 4 and all(len(label) < 70 for label in labels)
    assert "m (max_epochs 1, weights from training)" in labels
    assert sum("weights from checkpoint" in label for label in labels) == 2


def test_folds_of_different_data_are_never_averaged(make, blocks_folder, tmp_path_factory):
    """A data set of the same name with another list of images: its fold 1 is not the mate of the first one's fold 0."""
    import shutil

    other = Path(shutil.copytree(blocks_folder, tmp_path_factory.mktemp("other") / "blocks"))
    names = (other / "ImageSets/Segmentation/val.txt").read_text().split()
    (other / "ImageSets/Segmentation/val.txt").write_text("\n".join(names[:-2]) + "\n")
    first, protocol = make("m", 0), load_protocol("fscs")
    manifest = build_manifest(Folder(str(other)), protocol, Task(1, episodes=24))
    second = make("m", 1)
    second.run["identity"]["manifest_sha256"] = manifest.sha256
    manifest.write(second.path / "manifest.jsonl")
    blocks = build_blocks([first, Record(second.path, second.run)])
    assert [lines([block]) for block in blocks] == [[("m", "0")], [("m", "1")]]


def test_no_mean_by_size_over_some_folds_only(make, monkeypatch):
    from fsbench import tables

    real = tables._part

    def part(frame, record):
        made = real(frame, record)
        if record.manifest.header["fold"] == 1:
            made.sizes["0-5"] = (0, made.sizes["0-5"][1])
        return made

    monkeypatch.setattr(tables, "_part", part)
    (block,) = build_blocks([make("m", 0), make("m", 1)])
    mean = block.rows[-1]
    assert mean.fold == "mean" and mean.by_size["0-5"] == (0, {}) and mean.by_size["5-10"][1]


def test_breakdown_by_size_and_class(make):
    (block,) = build_blocks([make("m", 0)], by_class=True)
    (row,) = block.rows
    frame = make("m", 0).episodes
    shown = frame.filter((frame["slot"] > 0) & (frame["gt"] > 0))
    assert sum(pairs for pairs, _ in row.by_size.values()) == len(shown)
    small = shown.filter(shown["gt"] / (shown["void"] + shown["valid"]) < 0.05)
    assert row.by_size["0-5"][0] == len(small)
    assert list(row.by_class) == ["red", "green", "blue"]
    assert sum(pairs for pairs, _ in row.by_class.values()) == 24


def test_readers_are_told_what_a_number_is_not(make):
    (block,) = build_blocks([make("m", 0, weights="random (seed 0)")], trivial=True)
    text = " ".join(block.notes)
    assert "24 instead of the protocol's 1000 episodes: a trial, not a result" in text
    assert "backbone b has random (seed 0) weights; its figures mean nothing" in text
    assert "image lists: derived" in text
    assert [row.method for row in block.rows] == ["m", "(all foreground)", "(all background)", "(majority)"]


def test_formats(make):
    blocks = build_blocks([make("a_b", 0), make("a_b", 1)], by_class=True, trivial=True)
    text = {form: render(blocks, form) for form in FORMATS}
    table = text["text"].split("\n\n")[1].splitlines()
    assert len({len(line) for line in table[:2]}) == 1 and "100.00 [100.00, 100.00]" in table[2]
    assert "| a_b | 0 | 100.00 [100.00, 100.00] |" in text["markdown"]
    rows = list(csv.DictReader(io.StringIO(text["csv"])))
    means = [r for r in rows if r["fold"] == "mean" and r["part"] == "all" and r["metric"] == "mIoU"]
    assert [r["value"] for r in means] == ["100.0000"]
    assert {r["metric"] for r in rows} >= {"trainable parameters", "episodes/s", "peak memory MiB"}
    assert "a trial, not a result" in rows[0]["notes"]
    assert r"a\_b & 0 & 100.00" in text["latex"] and text["latex"].count(r"\begin{tabular}") == 4
    loaded = json.loads(text["json"])
    assert loaded[0]["rows"][0]["scores"]["mIoU"]["value"] == pytest.approx(100)


def test_the_order_of_the_folders_does_not_matter(make):
    records = [make("m", fold) for fold in (1, 0)]
    assert render(build_blocks(records), "json") == render(build_blocks(records[::-1]), "json")
    assert isinstance(records[0].path, Path)
