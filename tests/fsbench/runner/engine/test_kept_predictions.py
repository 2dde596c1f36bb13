"""The predictions that a real run keeps, and what is made of them without its method."""

import json
import re
import shutil
import zipfile
import zlib
from base64 import b64decode
from functools import partial
from itertools import product

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from lightning.pytorch.strategies import SingleDeviceStrategy
from PIL import Image, ImageOps
from torch.nn.functional import adaptive_avg_pool2d

from fsbench.base.errors import RecordError
from fsbench.cli.main import main
from fsbench.core.method import Method
from fsbench.methods.insid3 import INSID3
from fsbench.pages.report.explorer.masks import predict_again, run_masks
from fsbench.records.predictions import FILE, label_map_of, read_predictions
from fsbench.records.run import Run, write_run
from fsbench.records.run_directory import is_finished
from fsbench.results.measuring.measures import measure
from fsbench.results.measuring.recount import ORIGINAL, recount
from fsbench.results.rows.row import SIZE, scores_of
from fsbench.results.rules.rule import OWN
from fsbench.results.tables.table import build_blocks
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.restore import reopen_at
from fsbench.runner.engine.run import run_experiment
from fsbench.runner.engine.stored_data import open_dataset, open_truth
from fsbench.scores.confusion import COUNTS
from fsbench.scores.run_statistics import episode_statistics
from fsbench.scores.scores import COMMON
from tests.datamodules.test_episodic import exchange
from tests.fsbench.runner.engine.runs import folder_run
from tests.fsbench.runner.exchange.test_bundle import CARD
from tests.fsbench.runs import with_digits


@pytest.fixture(scope="module")
def runs_of(small_demo, tmp_path_factory):
    """runs_of(method, keep) -> the finished run of a method, two ways and five episodes."""
    made = {}

    def make(method, keep):
        if (method, keep) not in made:
            folder = tmp_path_factory.mktemp(keep)
            run = folder_run(method, small_demo, folder, keep_predictions=keep, episodes=5, way=2, protocol="fscs")
            made[method, keep] = run_experiment(Experiment(run.parse()))
        return made[method, keep]

    return make


@pytest.fixture(scope="module")
def runs_of_prototype(runs_of):
    """runs_of_prototype(keep) -> the finished run of the prototype."""
    return partial(runs_of, "prototype")


@pytest.mark.slow(2)
def test_a_run_knows_the_contents_of_its_files(small_demo, tmp_path):
    """Files of equal names and sizes with other contents make another run, and nothing is taken of the former one."""
    root = shutil.copytree(small_demo, tmp_path / "small")
    run = folder_run("prototype", root, tmp_path / "runs", keep_predictions="masks", episodes=3)

    def experiment():
        return Experiment(run.parse())

    data = experiment().data
    query, upside_down = data.dataset.image_path(data.manifest.episodes[0].query), root / "upside_down.jpg"
    ImageOps.flip(Image.open(query)).save(upside_down)
    query.write_bytes(query.read_bytes().ljust(20_000, b"\0"))
    before = run_experiment(experiment())
    assert experiment().folder == before.path
    exchange(query, upside_down)
    after = run_experiment(experiment())
    assert after.run.id != before.run.id and after.counts_sha256 != before.counts_sha256
    for opened in (open_dataset, lambda record: reopen_at(record, [0])):
        opened(after)
        with pytest.raises(RecordError, match="images or label maps differ or are absent; put the files"):
            opened(before)


@pytest.mark.parametrize(
    ("stated", "other", "reason"),
    [
        ("name: blocks", "name: bricks", "those of bricks, not of blocks"),
        ("'red'", "'rosy'", "they have other classes"),
    ],
)
def test_the_same_files_under_other_names_are_other_data(blocks_folder, tmp_path, stated, other, reason):
    root = shutil.copytree(blocks_folder, tmp_path / "blocks")
    record = run_experiment(Experiment(folder_run("prototype", root, tmp_path / "runs", episodes=1).parse()))
    open_dataset(record)
    folds = root / "folds.yaml"
    folds.write_text(folds.read_text().replace(stated, other, 1))
    with pytest.raises(RecordError, match=reason):
        open_dataset(record)


def test_what_is_kept_changes_no_figure_and_no_name(runs_of_prototype):
    soft, none = runs_of_prototype("soft"), runs_of_prototype("none")
    assert soft.path.name == none.path.name and soft.counts_sha256 == none.counts_sha256
    assert soft.run.identity == none.run.identity and soft.scores == none.scores
    assert FILE in soft.run.files and FILE not in none.run.files
    assert not (none.path / FILE).exists() and read_predictions(none) is None
    for record in (soft, none):
        assert (record.path / "predictions.png").is_file() and not (record.path / "evaluation").exists()
    assert (soft.path / "predictions.png").read_bytes() == (none.path / "predictions.png").read_bytes()
    stored = read_predictions(soft)
    assert stored.has_soft_masks
    for episode in range(5):
        soft_masks = stored.soft_masks(episode)
        assert soft_masks.shape == (2, 64, 64) and soft_masks.std() > 1
        label_map = stored.label_map(episode)
        assert label_map.max() > 0
    assert (soft.path / FILE).stat().st_size < 5 * 16 * 1024
    assert np.isfinite(soft.scores["mIoU"])


@pytest.mark.parametrize("force", [False, True])
def test_every_rank_waits_until_the_record_has_its_place(small_demo, tmp_path, monkeypatch, force):
    """Another node's command looks for it as soon as its own rank has ended."""
    config = folder_run("prototype", small_demo, tmp_path / "runs", force=force, episodes=1)
    places = []

    def barrier(strategy, name=None):
        if name == "recorded":
            places.append([(path.name, is_finished(path)) for path in (tmp_path / "runs").iterdir() if path.is_dir()])

    monkeypatch.setattr(SingleDeviceStrategy, "barrier", barrier)
    for _ in range(1 + force):
        record = run_experiment(Experiment(config.parse()))
    assert places == [[(record.path.name, True)]] * (1 + force)


@pytest.fixture
def no_method(runs_of_prototype, monkeypatch):
    """Building a method fails, once the runs are there."""
    runs_of_prototype("soft")

    def refuse(*args, **kwargs):
        raise AssertionError("a method was built")

    monkeypatch.setattr(Method, "__init__", refuse)


def test_counts_of_stored_predictions_are_the_records(runs_of_prototype, no_method):
    record = runs_of_prototype("soft")
    found = recount(record, open_truth(record), ORIGINAL)
    assert found.select(COUNTS).equals(record.episodes.select(COUNTS))
    assert found.drop(COUNTS).equals(record.episodes.drop(*COUNTS, "rom", "rum"))


def nearest(place, length):
    """Source of a pixel at 24 pixels a side (fss-protocol §4)."""
    return int(np.float32(place) * (np.float32(length) / np.float32(24)))


def test_counts_at_another_resolution_are_those_of_nearest_pixels(runs_of_prototype, no_method):
    record, side = runs_of_prototype("soft"), 24
    truths, stored = open_truth(record), read_predictions(record)
    rows = []
    for episode in record.manifest.episodes:
        maps = [stored.label_map(episode.number), truths(episode.number)]
        small = [
            [int(m[nearest(i, m.shape[0]), nearest(j, m.shape[1])]) for i in range(24) for j in range(24)] for m in maps
        ]
        pairs = list(zip(*small, strict=True))
        sound = [(p, t) for p, t in pairs if t != 255]
        for slot in range(3):
            is_slot = (lambda value: value > 0) if slot == 0 else (lambda value, slot=slot: value == slot)
            rows.append([
                sum(is_slot(p) and is_slot(t) for p, t in sound), sum(is_slot(p) for p, _ in sound),
                sum(is_slot(t) for _, t in sound), sum(is_slot(p) and t == 255 for p, t in pairs),
                len(pairs) - len(sound), len(sound),
            ])  # fmt: skip
    found = recount(record, truths, side)
    assert found.select(COUNTS).to_numpy().tolist() == rows


def test_scores_by_other_rules(runs_of_prototype, no_method, capsys):
    record = runs_of_prototype("soft")
    asked = ["--void", "ignore", "--resolution", "24", "--objects", "0-60", "--format", "json"]
    assert main(["table", str(record.path), *asked]) == 0
    (group,) = json.loads(capsys.readouterr().out)
    rows = [row for row in group["rows"] if not row["minus"]]
    scores = {row["rule"]: row["value"] for row in rows if row["metric"] == "mIoU"}
    assert list(scores) == [
        OWN, "only void: ignore", "only resolution: 24 x 24", "only objects of 0 to 60 % of the query",
    ]  # fmt: skip
    small = recount(record, open_truth(record), 24)
    expected = episode_statistics(small, record.header.class_ids, "background").scores()
    assert scores["only resolution: 24 x 24"] == pytest.approx(expected["mIoU"])
    expected = episode_statistics(record.episodes, record.header.class_ids, "ignore").scores()
    assert scores["only void: ignore"] == pytest.approx(expected["mIoU"])
    pairs = record.episodes.filter((pl.col("slot") > 0) & pl.col("present"))
    pairs = pairs.filter(pl.col("gt") < 0.6 * (pl.col("valid") + pl.col("void"))).with_columns(
        union=pl.col("pred") + pl.col("gt") - pl.col("tp") + pl.col("pred_void")
    )
    by_class = pairs.group_by("class_id").agg(pl.col("tp", "union").sum())
    miou = 100 * (by_class["tp"] / by_class["union"]).mean()
    assert scores["only objects of 0 to 60 % of the query"] == pytest.approx(miou)


def test_a_bad_file_of_predictions_stops_nobody(runs_of_prototype, tmp_path, capsys):
    runs = tmp_path / "runs"
    good, bad = (shutil.copytree(runs_of_prototype("soft").path, runs / name) for name in ("good", "bad"))
    rename(bad, "other")
    (bad / FILE).write_bytes(b"PAR1")
    assert main(["table", str(runs), "--metrics", "mIoU,boundary-IoU"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "bad: no boundary-IoU:" in printed and "it has 4 of" in printed
    assert "good: no boundary-IoU" not in printed
    assert main(["table", str(runs)]) == 0
    assert "predictions.parquet" not in capsys.readouterr().out
    assert main(["table", str(bad), "--resolution", "24"]) == 0
    assert "only resolution: 24 x 24 cannot be computed: stored predictions:" in " ".join(
        capsys.readouterr().out.split()
    )
    assert good.is_dir()


def plain_boundary(mask, distance):
    padded = np.pad(mask, distance)
    height, width = mask.shape
    inside = np.ones_like(mask)
    for dy in range(2 * distance + 1):
        for dx in range(2 * distance + 1):
            inside &= padded[dy : dy + height, dx : dx + width]
    return mask & ~inside


def plain_error(cases):
    """Expected calibration error in percent of (probability, happened, weight)."""
    total, error = sum(weight for *_, weight in cases), 0.0
    for low in range(15):
        inside = [c for c in cases if (low / 15 + 1e-9 < c[0] or low == 0) and c[0] <= (low + 1) / 15 + 1e-9]
        error += abs(sum(w * (p - share) for p, share, w in inside))
    return 100 * error / total


def test_boundary_iou_and_calibration_equal_plain_ones(runs_of_prototype, no_method):
    record = runs_of_prototype("soft")
    truths, stored = open_truth(record), read_predictions(record)
    boundary = {number: [0, 0] for number in record.header.class_ids}
    cells, pairs = [], []
    for episode in record.manifest.episodes:
        truth, found = truths(episode.number), stored.label_map(episode.number)
        distance = max(1, round(0.02 * np.hypot(*truth.shape)))
        for way, number in enumerate(episode.classes, 1):
            expected, near = (plain_boundary(m == way, distance) for m in (truth, found))
            boundary[number][0] += (expected & near).sum()
            boundary[number][1] += (expected | near).sum()
            shown = (truth == way).astype(float)  # fscs counts void as background
            share = adaptive_avg_pool2d(torch.from_numpy(shown)[None], 64)[0].numpy()
            weight = np.outer(*(
                [-(-(i + 1) * length // 64) - i * length // 64 for i in range(64)] for length in truth.shape
            ))  # fmt: skip
            soft = stored.soft_masks(episode.number)[way - 1] / 255
            cells += list(zip(soft.ravel(), share.ravel(), weight.ravel(), strict=True))
    ways = record.episodes.filter(pl.col("slot") > 0)
    pairs = [(p, float(there), 1) for p, there in ways.select("score", "present").rows()]
    names = [metric.name for metric in COMMON if metric.is_measured]
    (block,) = build_blocks([record], metrics=names, measure=partial(measure, metrics=names, open_truth=open_truth))
    ((line, scores),) = block.lines.items()
    shown = [i / u for i, u in boundary.values() if u]
    assert scores["boundary-IoU"].value == pytest.approx(100 * sum(shown) / len(boundary))
    assert scores["presence-ECE"].value == pytest.approx(plain_error(pairs))
    assert scores["pixel-ECE"].value == pytest.approx(plain_error(cells))
    assert all(0 <= scores[name].value < 100 for name in names)
    assert any("boundary-IoU" in scores_of(rows) for rows in block.parts(SIZE)[line].values())


def test_what_a_run_lacks_is_said(runs_of_prototype):
    names = [metric.name for metric in COMMON if metric.is_measured]
    (block,) = build_blocks(
        [runs_of_prototype("none")], metrics=names, measure=partial(measure, metrics=names, open_truth=open_truth)
    )
    assert set(next(iter(block.lines.values()))) == {"presence-ECE", "presence-CE2"}
    (said,) = [line for line in block.warnings if "the run kept no predictions" in line]
    assert ": no boundary-IoU, pixel-ECE, pixel-CE2: the run kept" in said


def copied(record, folder, name):
    """Copy of a run, of a method with another name."""
    rename(shutil.copytree(record.path, folder / name), name)


def rename(folder, name):
    """Give a run a method with another name, with the id that follows."""
    content = json.loads((folder / "run.json").read_text())
    content["identity"]["method"]["name"] = name
    write_run(folder / "run.json", with_digits(Run.model_validate(content | {"id": name})))


@pytest.mark.slow
def test_comparison_and_report_take_scores_beyond_counts(runs_of_prototype, tmp_path, capsys):
    runs, names = tmp_path / "runs", "pixel-ECE,boundary-IoU"
    for name, keep in (("one", "soft"), ("same", "soft"), ("bare", "none")):
        copied(runs_of_prototype(keep), runs, name)
    assert main(["table", str(runs / "one"), "--metrics", names, "--format", "json", "--no-trivial"]) == 0
    ((row,),) = [block["rows"] for block in json.loads(capsys.readouterr().out)]
    assert main(["compare", str(runs), "--metrics", names, "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    (said,) = [line for line in found["warnings"] if "kept no predictions" in line]
    assert said.startswith("bare: no pixel-ECE, pixel-CE2, boundary-IoU: ")
    for metric in names.split(","):
        (line,) = found["tables"]["all"][metric]
        assert {line["difference"]["method"], line["difference"]["other"]} == {"one", "same"}
        assert line["difference"]["scores"] == pytest.approx([row["scores"][metric]["value"]] * 2)
    assert main(["report", str(runs), "--metrics", names, "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/study-1/index.html").read_text()
    assert "bare: no pixel-ECE, pixel-CE2, boundary-IoU: the run kept no predictions" in page
    for name, metric in product(("one", "same"), names.split(",")):
        line = re.search(rf'data-method="{name}".*?</tr>', page, re.DOTALL)[0]
        cell = re.search(rf'data-column="{metric}.0"(.*?)</td>', line, re.DOTALL)[1]
        assert f'data-value="{row["scores"][metric]["value"]}"' in cell
    assert main(["compare", str(runs / "one"), str(runs / "bare"), "--metrics", "pixel-ECE"]) == 2
    assert (
        "no two methods have pixel-ECE or pixel-CE2: bare: no pixel-ECE, pixel-CE2: the run kept no predictions"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("keep", ["soft", "none"])
def test_the_explorer_takes_stored_predictions_where_there_are_any(runs_of_prototype, keep, monkeypatch):
    again, missing, real = [], [], predict_again
    monkeypatch.setattr(
        "fsbench.pages.report.explorer.masks.predict_again", lambda *given: again.append(1) or real(*given)
    )
    masks = run_masks(runs_of_prototype(keep), [1, 3], "m, fold 0", missing, lambda line: None)
    assert (again, len(missing)) == (([], 0) if keep == "soft" else ([1], 1))
    assert (masks.ways(0) is None) == (keep == "none")
    stored = read_predictions(runs_of_prototype("soft"))
    for episode in (1, 3):
        ways = masks.ways(episode)
        np.testing.assert_array_equal(label_map_of(ways), stored.label_map(episode))
        assert [way["decided"] for way in ways] == stored.decided(episode)
        soft = [np.frombuffer(zlib.decompress(b64decode(way["soft"])), np.uint8).reshape(64, 64) for way in ways]
        np.testing.assert_array_equal(soft, stored.soft_masks(episode))


@pytest.mark.slow(2)
def test_attention_is_kept_with_its_meaning_and_is_the_same_when_predicted_again(runs_of):
    kept, again = runs_of("insid3", "soft"), runs_of("insid3", "none")
    assert kept.run.attention == INSID3.attention_meaning
    assert kept.counts_sha256 == again.counts_sha256
    stored = read_predictions(kept)
    masks = [run_masks(record, [1, 3], "m, fold 0", [], lambda line: None) for record in (kept, again)]
    assert [of_run.attention_meaning for of_run in masks] == [INSID3.attention_meaning] * 2
    for episode in (1, 3):
        attention = stored.attention(episode)
        assert stored.soft_masks(episode) is None and attention.shape == (2, 64, 64)
        assert all(len(np.unique(way)) > 100 for way in attention)  # of 256, though its range may be narrow
        now, then = ([way["attention"] for way in of_run.ways(episode)] for of_run in masks)
        assert now == then
        for packed, values in zip(now, attention, strict=True):
            content = zlib.decompress(b64decode(packed))
            np.testing.assert_allclose(np.frombuffer(content[:8], "<f4"), [values.min(), values.max()], rtol=1e-5)


def test_a_bundle_holds_predictions_where_that_is_asked_for(runs_of_prototype, tmp_path, capsys):
    record, card = runs_of_prototype("soft"), tmp_path / "card.yaml"
    card.write_text(yaml.safe_dump(CARD))
    for option, holds in (([], "1 runs, none with predictions"), (["--predictions"], "1 runs, 1 with predictions")):
        out = tmp_path / f"results{len(option)}.fsb"
        assert main(["bundle", str(record.path), "--card", str(card), "-o", str(out), *option]) == 0
        assert holds in capsys.readouterr().out
        names = zipfile.ZipFile(out).namelist()
        assert any(name.endswith("predictions.parquet") for name in names) == bool(option)
        assert main(["verify", str(out)]) == 0
        assert "nothing failed, repeated: 0 of 5 episodes" in capsys.readouterr().out
