"""`fsbench compare` on records whose predictions are known."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.records.predictions import read_predictions
from fsbench.records.record import read_record
from fsbench.results.tables.compare import compare, scores_in
from fsbench.results.tables.compare_layout import to_sheet
from fsbench.results.tables.formats import align
from fsbench.results.tables.rescoring.measures import measure
from fsbench.results.tables.subsets import SIZES
from fsbench.scores.bootstrap import differences
from fsbench.scores.calibration import BINS
from fsbench.scores.run_statistics import episode_statistics
from fsbench.scores.scores import COMMON
from fsbench.scores.statistics import ScoreStatistics
from tests.fsbench.runs import written


@pytest.fixture(scope="module")
def three(shared_make, tmp_path_factory):
    """Folders good, fair and bad, each with two folds; fair and bad are nearly the same. No test changes them."""
    folders = []
    for method, quality, wrong in (("good", 1, 1), ("fair", 2, 6), ("bad", 2, 7)):
        folder = tmp_path_factory.mktemp("three") / method
        folder.mkdir()
        for fold in (0, 1):
            record = shared_make(method, fold, quality, wrong=wrong)
            shutil.move(record.path, folder / str(fold))
        folders.append(folder)
    return folders


def sums(folder):
    frames = [read_record(path) for path in sorted(folder.iterdir())]
    return [episode_statistics(record.episodes, record.manifest.class_ids, "background") for record in frames]


def test_the_mean_over_folds_and_each_fold(three):
    found = compare(three, ["mIoU", "accuracy"], by=["fold"], resamples=2000)
    assert list(found.methods) == ["good", "fair", "bad"] and all(len(paths) == 2 for paths in found.methods.values())
    lines = found.tables["all"]["mIoU"]
    assert [(x.difference.method, x.difference.other, x.fold) for x in lines] == [
        ("good", "fair", "mean"), ("good", "bad", "mean"), ("fair", "bad", "mean"),
    ]  # fmt: skip
    expected = differences(sums(three[1]), sums(three[0]), 2000)["mIoU"]  # its second minus its first
    assert lines[0].difference.difference == expected and expected.low > 0
    assert expected.value == pytest.approx(lines[0].difference.scores[0] - lines[0].difference.scores[1])
    assert lines[0].significant and lines[1].significant
    assert lines[2].difference.difference.value == 0 and lines[2].needed is None and lines[2].corrected == 1
    assert lines[0].corrected == pytest.approx(3 * min(lines[0].difference.p, lines[1].difference.p))
    assert lines[0].images == sum(part.clusters for part in sums(three[0]))
    by_fold = found.tables["fold"]["accuracy"]
    assert [x.fold for x in by_fold] == ["0"] * 3 + ["1"] * 3
    assert by_fold[0].difference.scores == (pytest.approx(100 * 23 / 24), pytest.approx(75))
    assert by_fold[0].needed > 24 / 10
    assert found.alike["mIoU"] == {"mean": [["fair", "bad"]]}


@pytest.mark.parametrize(("resamples", "said"), [(118, True), (120, False)])
def test_lines_that_are_too_many_for_the_resamples_are_said(three, resamples, said):
    found = compare(three[:2], ["mIoU"], by=["class"], resamples=resamples)
    lines = found.tables["class"]["mIoU"]
    assert len(lines) == 6 and min(line.corrected for line in lines) >= 6 / (resamples + 1) - 1e-12
    notes = [note for note in found.notes if "too many" in note]
    assert [note.startswith("6 lines in a table are too many for 118 resamples") for note in notes] == [True] * said
    assert all("give --resamples 120 or more" in note for note in notes)


def test_the_best_stands_first_whichever_way_a_score_goes(three):
    found = compare(three, ["accuracy", "error", "RUM"], resamples=100)
    assert found.alike["accuracy"]["mean"][0] == ["fair", "bad"]
    assert found.alike["error"]["mean"] == found.alike["accuracy"]["mean"]
    lines = found.tables["all"]
    for metric, groups in found.alike.items():
        scores = scores_in(lines[metric])
        for group in groups["mean"]:
            values = [scores[name] for name in group]
            assert values == sorted(values, reverse=metric == "accuracy")


def test_by_size_and_class(three):
    found = compare(three[:2], ["mIoU", "accuracy"], by=["size", "class"], resamples=500)
    sizes = found.tables["size"]
    assert {line.part for line in sizes["mIoU"]} <= set(SIZES) and "absent" in {x.part for x in sizes["accuracy"]}
    classes = found.tables["class"]["mIoU"]
    assert [(x.fold, x.part) for x in classes] == [
        ("0", "red"), ("0", "green"), ("0", "blue"), ("1", "yellow"), ("1", "cyan"), ("1", "magenta"),
    ]  # fmt: skip
    record = read_record(three[1] / "0")
    red = record.episodes.filter((pl.col("slot") > 0) & (pl.col("class_id") == 1))
    union = red["pred"] + red["gt"] - red["tp"] + red["pred_void"]
    assert classes[0].difference.scores[1] == pytest.approx(100 * red["tp"].sum() / union.sum())
    assert classes[0].images == red["query"].n_unique() and classes[0].needed is None
    p = [line.difference.p for line in classes]
    assert min(x.corrected for x in classes) == pytest.approx(min(len(p) * min(p), 1))


def test_episodes_used_and_needed_by_plain_arithmetic(three):
    """The accuracy is a ratio of sums by query image, whose standard error has a formula of its own."""
    found = compare(three[:2], ["accuracy"], by=["class"], resamples=5000).tables
    (line,) = found["all"]["accuracy"]
    differences, variances = [], []
    for fold in (0, 1):
        right = []
        for folder in three[:2]:
            frame = read_record(folder / str(fold)).episodes
            ways = frame.filter(pl.col("slot") > 0)
            right.append((ways["present"] == ways["decided"]).to_numpy().astype(float))
        images = ways["query"].to_list()
        moved = right[0] - right[1]
        d = moved.mean()
        residuals = [
            sum(m - d for m, name in zip(moved, images, strict=True) if name == image) for image in set(images)
        ]
        differences.append(100 * d)
        variances.append(100**2 * sum(r * r for r in residuals) / len(moved) ** 2)
    d, error = sum(differences) / 2, (sum(variances) / 4) ** 0.5
    assert line.difference.difference.value == pytest.approx(d)
    assert line.difference.error == pytest.approx(error, rel=0.05)
    assert line.episodes == 24
    assert line.needed == pytest.approx(24 * ((1.959964 + 0.841621) * error / d) ** 2, rel=0.12)
    by_class = [x.episodes for x in found["class"]["accuracy"]]
    record = read_record(three[0] / "0")
    counts = record.episodes.filter(pl.col("slot") > 0).group_by("class_id").agg(pl.col("episode").n_unique())
    assert by_class[:3] == counts.sort("class_id")["episode"].to_list()


def test_the_table_fits(three):
    found = compare(three, ["mIoU"], resamples=200)
    for width, columns in ((100, 8), (80, 5), (66, 5)):
        (_, grid) = to_sheet(found, width).parts[0]
        assert max(map(len, align(grid))) <= width and len(grid[0]) == columns
        assert "first − second" in grid[0] and "corrected" in grid[0] and "episodes needed" in grid[0]


def test_some_folds_and_a_baseline(three, make, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    shutil.move(make("late", 1, 3).path, one / "1")
    found = compare([*three, one], ["mIoU"], baseline="late", folds=[1], resamples=200)
    assert [(x.difference.method, x.difference.other, x.fold) for x in found.tables["all"]["mIoU"]] == [
        (name, "late", "1") for name in ("good", "fair", "bad")
    ]
    assert found.tables["all"]["mIoU"][0].difference.difference.value > 0  # better than the baseline
    assert found.alike == {}


@pytest.fixture
def refusal(capsys):
    def call(*arguments: object) -> str:
        try:
            status = main(["compare", *map(str, arguments)])
        except SystemExit as refused_by_the_parser:
            status = refused_by_the_parser.code
        assert status == 2
        err = capsys.readouterr().err
        assert "Traceback" not in err and len(err.splitlines()) == 1
        return err.removeprefix("fsbench: error: ")

    return call


def test_refusals(three, make, tmp_path, refusal):
    assert "found only good in" in refusal(three[0]) and "two or more methods" in refusal(three[0])
    assert "no method 'best' to compare with; there are: good, fair, bad" in refusal(*three, "--baseline", "best")
    assert "resamples is 5" in refusal(*three, "--resamples", "5")
    assert "unknown metric 'iou'" in refusal(*three, "--metrics", "iou")
    assert "expected a name that ends in .png" in refusal(*three, "--resamples", "100", "--plot", "x.gif")
    assert "is no folder" in refusal(tmp_path / "nowhere")
    lone = make("lone", 0).path
    assert "good has runs of fold 0, 1, lone of 0; run what is missing" in refusal(three[0], lone)
    two_way = make("m", 0, way=2).path
    message = refusal(three[0], two_way, "--fold", "0")
    assert message.startswith("good and m are not on the same episodes: way is 1 and 2; expected runs of one list")
    assert str(two_way) in message
    fewer = make("n", 0, episodes=20).path
    assert "n are not on the same episodes: episodes is 24 and 20, requested is 24" in refusal(
        three[0], fewer, "--fold", "0"
    )


def test_other_label_maps_are_refused(three, tmp_path, refusal):
    path = shutil.copytree(three[1], tmp_path / "fair") / "0"
    record = read_record(path)
    more = pl.when(pl.col("gt") > 0).then(pl.col("gt") + 1).otherwise(pl.col("gt"))
    frame = record.episodes.with_columns(gt=more, valid=pl.col("valid") + 1)
    written(path, frame, **record.run.as_json())
    message = refusal(three[0], path.parent)
    assert "have the same episodes but other label maps" in message


def test_runs_of_one_name_are_told_apart_by_their_folders(three, tmp_path):
    copy = shutil.copytree(three[1], tmp_path / "again")
    for path in copy.iterdir():
        run = json.loads((path / "run.json").read_text())
        (path / "run.json").write_text(json.dumps(run | {"id": f"other-{path.name}"}))
    found = compare([three[1], copy], ["mIoU"], resamples=100)
    assert list(found.methods) == ["fair: fair", "again: fair"]
    both = compare([three[0], three[1], three[1] / "0", three[1]], ["mIoU"], resamples=100)
    assert list(both.methods) == ["good", "fair"]  # found three times, stands once


def test_what_is_printed(three, capsys, tmp_path):
    folders = [str(folder) for folder in three]
    more = ["--resamples", "300", "--by", "fold", "--by", "class", "--plot", str(tmp_path / "cd.svg")]
    assert main(["compare", *folders, *more]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith("blocks · 1-way 1-shot") and "mIoU by class" in lines
    assert "accuracy by fold, episodes used: 24 a fold" in lines
    head = next(line for line in lines if line.startswith("first"))
    assert re.split("  +", head) == [
        "first", "second", "first", "second", "first − second", "p", "corrected", "episodes needed",
    ]  # fmt: skip
    assert "mIoU, mean over folds, episodes used: 24 a fold" in lines
    assert "* not told apart in mIoU (mean over folds): fair, bad" in lines
    assert any(line.startswith("good") and "0.0" in line and "*" in line for line in lines)
    assert "a trial, not a result" in printed
    drawn = (tmp_path / "cd.svg").read_text()
    assert drawn.count(" good  ") == 3 and "<!-- mIoU, mean over folds -->" in drawn
    assert main(["compare", *folders, *more]) == 0
    assert (tmp_path / "cd.svg").read_text() == drawn
    capsys.readouterr()
    assert main(["compare", *folders, "--resamples", "300", "--format", "json"]) == 0
    (stated,) = json.loads(capsys.readouterr().out)
    assert stated["tables"]["all"]["mIoU"][0]["difference"]["difference"]["low"] > 0
    assert main(["compare", *folders, "--resamples", "300", "--format", "markdown"]) == 0
    assert "| good | fair | 100.00 |" in capsys.readouterr().out


def test_the_picture_shows_methods_at_their_scores(three, tmp_path):
    from PIL import Image

    from fsbench.results.tables.compare_layout import plot

    plot(tmp_path / "cd.png", compare(three, ["mIoU"], resamples=300))
    pixels = np.asarray(Image.open(tmp_path / "cd.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 80)  # the bar over fair and bad, which are alike to the digit
    columns = np.nonzero(red.any(0))[0]
    assert len(columns) and columns.max() < pixels.shape[1] / 3  # good, the best, is on the right


def test_finished_runs_are_read_without_torch(three):
    """Torch alone takes seconds and hundreds of megabytes."""
    code = "import sys; from fsbench.cli.main import main; runs = sys.argv[1:]; "
    code += "main(['compare', *runs]); main(['table', *runs]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *map(str, three)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("blocks · 1-way 1-shot") == 2, done.stderr


@pytest.mark.parametrize("metrics", ["mIoU", "boundary-IoU"])
def test_scores_of_another_task_are_refused(classified, metrics, tmp_path, capsys):
    for number, name in enumerate(("near", "far")):
        classified(name, number)
    assert main(["compare", str(tmp_path), "--metrics", metrics]) == 2
    assert f"no two methods have {metrics}" in capsys.readouterr().err


def eroded(mask, distance):
    """Pixels whose square neighbourhood lies inside the mask, one after the other."""
    padded = np.pad(mask, distance)
    side = 2 * distance + 1
    inside = [padded[y : y + side, x : x + side].all() for y in range(mask.shape[0]) for x in range(mask.shape[1])]
    return np.reshape(inside, mask.shape)


def plain_measures(record, truth):
    """Sums of boundaries (Q, C, 2), truth (Q, C) and presence (Q, BINS, 3) of a run of one way, pixel by pixel."""
    stored, names = read_predictions(record), sorted({episode.query for episode in record.manifest.episodes})
    classes = record.header.class_ids
    boundary, shown = np.zeros((len(names), len(classes), 2)), np.zeros((len(names), len(classes)))
    presence = np.zeros((len(names), BINS, 3))
    there = {row["episode"]: row for row in record.episodes.to_dicts() if row["slot"] == 1}
    for episode in record.manifest.episodes:
        target, place = truth(record)(episode.index), (names.index(episode.query), classes.index(episode.classes[0]))
        distance = max(1, round(0.02 * np.hypot(*target.shape)))
        edges = [m & ~eroded(m, distance) for m in (stored.label_map(episode.index) == 1, target == 1)]
        boundary[place] += [(edges[0] & edges[1]).sum(), (edges[0] | edges[1]).sum()]
        shown[place] += (target == 1).sum()
        row = there[episode.index]
        presence[place[0], max(int(np.ceil(row["score"] * BINS)) - 1, 0)] += [1, row["score"], row["present"]]
    return boundary, shown, presence


def test_scores_of_stored_predictions_are_compared_as_others_are(make, blocks_folder):
    index = Folder(str(blocks_folder))

    def truth(record):
        episodes = {e.index: e for e in record.manifest.episodes}
        return lambda number: way_labels(index.label_map(episodes[number].query), episodes[number].classes)

    records = [make("exact", 0, keep="soft"), make("rows", 0, 2, wrong=4, keep="masks"), make("bare", 0, 3)]
    names = [metric.name for metric in COMMON if metric.is_measured]
    measured = partial(measure, metrics=names, open_truth=truth)
    found = compare([r.path for r in records], names, resamples=500, measure=measured)
    assert {note for note in found.notes if "no pixel-ECE" in note or "no boundary-IoU" in note} == {
        f"{records[1].path.name}: no pixel-ECE: it kept no soft masks (KEEP_PREDICTIONS=soft)",
        f"{records[2].path.name}: no pixel-ECE: the run kept no predictions (repeat it with FORCE=1)",
        f"{records[2].path.name}: no boundary-IoU: the run kept no predictions (repeat it with FORCE=1)",
    }
    assert "pixel-ECE" not in found.tables["all"]  # one method alone has soft masks
    assert [len(found.tables["all"][name]) for name in names[:2]] == [1, 3]
    statistics = []
    for record in records[:2]:
        boundary, shown, presence = plain_measures(record, truth)
        statistics.append(
            ScoreStatistics(len(shown), {"truth": shown, "boundary": boundary, "presence_bins": presence}, COMMON)
        )  # fmt: skip
    expected = differences([statistics[1]], [statistics[0]], 500)  # its second minus its first
    for name in names[:2]:
        line = found.tables["all"][name][0]
        assert (line.difference.method, line.difference.other) == ("exact", "rows")
        moved = line.difference.difference
        for end in ("value", "low", "high"):
            assert getattr(moved, end) == pytest.approx(getattr(expected[name], end), abs=1e-9), (name, end)
        assert moved.value != 0
