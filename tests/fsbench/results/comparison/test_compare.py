"""`fsbench compare` on records whose predictions are known."""

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import isnan, nan
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fsbench.cli.main import main
from fsbench.data.label_maps import way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.records.predictions import read_predictions
from fsbench.records.record import read_record
from fsbench.results.comparison.compare import Asked, Comparing, common_scope, compare_tests, size_of_test
from fsbench.results.comparison.layout import bars, times, to_sheet
from fsbench.results.conclusions import p_in_words
from fsbench.results.measuring.measures import measure
from fsbench.results.rows.comparable import compared_tests, label_methods
from fsbench.results.rows.parts import SIZES
from fsbench.results.rows.row import MEAN, ResultRow, scores_in
from fsbench.results.sheets.fitting import fit
from fsbench.results.sheets.legend import explain
from fsbench.results.sheets.text import table_lines, text
from fsbench.scores.calibration import BINS
from fsbench.scores.estimate import Estimate, Scope
from fsbench.scores.run_statistics import episode_statistics
from fsbench.scores.scores import COMMON
from tests.fsbench.runs import rewrite, written
from tests.fsbench.scores.once import differences_once


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


def compare(folders, metrics=None, folds=(), **more):
    """Compare the methods of the only test in these folders."""
    (found,) = compare_tests(compared_tests(folders, folds), Comparing(metrics, **more))
    return found


def sums(folder):
    frames = [read_record(path) for path in sorted(folder.iterdir())]
    return [episode_statistics(record.episodes, record.manifest.class_ids, "background") for record in frames]


def test_the_mean_over_folds_and_each_fold(three):
    found = compare(three, ["mIoU", "accuracy"], by=["fold"])
    assert list(found.methods) == ["good", "fair", "bad"] and all(len(paths) == 2 for paths in found.methods.values())
    lines = found.tables["all"]["mIoU"]
    assert [(x.method, x.minus, x.fold) for x in lines] == [
        ("good", "fair", "mean"), ("good", "bad", "mean"), ("fair", "bad", "mean"),
    ]  # fmt: skip
    expected = differences_once(sums(three[0]), sums(three[1]))["mIoU"]
    assert lines[0].estimate.scope == expected.scope and expected.low > 0
    for name in ("value", "low", "high", "error", "df", "p"):
        assert getattr(lines[0].estimate, name) == pytest.approx(getattr(expected, name))
    assert expected.value == pytest.approx(lines[0].scores[0] - lines[0].scores[1])
    assert lines[0].significant and lines[1].significant
    assert (
        lines[2].estimate.scope == "identical" and size_of_test(lines[2], Asked()) is None and isnan(lines[2].corrected)
    )
    assert p_in_words(lines[2]) == "identical on these episodes"
    names = {name for fold in (0, 1) for name in read_record(three[0] / str(fold)).episodes["query"]}
    assert lines[0].estimate.queries == len(names)
    by_fold = found.tables["fold"]["accuracy"]
    assert [x.fold for x in by_fold] == ["0"] * 3 + ["1"] * 3
    assert by_fold[0].scores == (pytest.approx(100 * 23 / 24), pytest.approx(75))
    assert found.alike["mIoU"] == {"mean": [["fair", "bad"]]}


def plain_holm(p, weights):
    """Holm's method with weights, step by step."""
    left, found, least = dict(enumerate(zip(p, weights, strict=True))), [0.0] * len(p), 0.0
    while left:
        i = min(left, key=lambda n: left[n][0] / left[n][1])
        least = max(least, left[i][0] / left[i][1] * sum(weight for _, weight in left.values()))
        found[i] = min(least, 1.0)
        del left[i]
    return found


def test_everything_that_is_printed_is_one_family(three):
    """0.8 of the weight is for the first metric on the whole test, 0.2 for all else; what has no p is in no family."""
    found = compare(three, ["accuracy", "mIoU"], by=["fold", "size", "class"])
    lines = [(kind, metric, x) for kind, of in found.tables.items() for metric, lines in of.items() for x in lines]
    tested = [(kind, metric, x) for kind, metric, x in lines if not isnan(x.estimate.p)]
    main = [(kind, metric) == ("all", "accuracy") for kind, metric, _ in tested]
    assert 0 < sum(main) < len(tested) < len(lines) and found.comparisons == len(tested)
    weights = [0.8 / sum(main) if first else 0.2 / (len(main) - sum(main)) for first in main]
    expected = plain_holm([x.estimate.p for _, _, x in tested], weights)
    assert [x.corrected for _, _, x in tested] == pytest.approx(expected)
    assert any(f"Holm's correction ({len(tested)} comparisons)" in line for line in explain(to_sheet(found)))


def test_breakdowns_fit_the_width_with_a_margin(three):
    found = compare(three, ["mIoU"], by=["size", "class"], asked=Asked(margin=5))
    for width in (80, 120):
        fitted = fit(to_sheet(found, every=True), width).sheet
        assert max(len(line) for table in fitted.tables for line in table_lines(table)) <= width
    assert any("within ± 5: yes if the 90 % interval" in note for note in found.notes)
    for short in (fit(to_sheet(found, every=True), 54).sheet, fit(to_sheet(found), None).sheet):
        assert "finds" not in heads(short.tables[0]) and "finds: " not in " ".join(explain(short))


def heads(table):
    return [column.head for column in table.columns]


def test_sizes_and_margins_are_asked_of_scores_in_points_alone(make):
    runs = [make(name, 0, quality=quality).path for name, quality in (("a", 2), ("b", 4))]
    found = compare(runs, ["ROM", "mIoU"], asked=Asked(margin=2.0))
    (rom,), (miou,) = found.tables["all"]["ROM"], found.tables["all"]["mIoU"]
    asked = Asked(margin=2.0)
    assert size_of_test(rom, asked) is rom.is_equivalent(2.0) is None
    assert size_of_test(miou, asked) is not None and miou.is_equivalent(2.0) is not None
    of_rom, of_miou = (set(heads(table)) for table in to_sheet(found, every=True).tables)
    in_points = {"finds", "for 1", "within ± 2"}
    assert in_points <= of_miou and not in_points & of_rom
    assert "first − second: on a scale of 1 (mIoU: in points), same" in " ".join(explain(to_sheet(found)))
    assert "sizes of tests and margins are in points, which ROM is not" in found.notes
    assert not [note for note in found.notes if note.startswith("ROM") and "points" in note]


def test_methods_are_grouped_only_where_all_differences_hold_for_the_same():
    here, everywhere, same, untested = (
        ResultRow("t", "A", MEAN, "mIoU", Estimate(2.0, scope=scope, p=p), "B")
        for scope, p in zip(
            (Scope.THESE_SUPPORTS, Scope.IMAGES, Scope.IDENTICAL, Scope.NONE), (0.01, 0.01, nan, nan), strict=True
        )
    )
    assert common_scope([here, here, same]) == "these supports" and common_scope([everywhere, same]) == "images"
    assert common_scope([here, everywhere]) is None
    assert common_scope([everywhere, untested]) is None


def test_size_and_equivalence_by_plain_arithmetic(three, capsys):
    """The found difference is never put in: the numbers follow from error and degrees of freedom alone."""
    asked = Asked(effect=2, margin=90)
    (line,) = compare(three[:2], ["mIoU"], asked=asked).rows
    found, size = line.estimate, size_of_test(line, asked)
    smallest = (stats.t.ppf(0.975, found.df) + stats.t.ppf(0.8, found.df)) * found.error
    assert size.smallest == pytest.approx(smallest)
    k, h = (smallest / 2) ** 2, found.df / 2
    ends = k * h / stats.chi2.ppf(0.975, h), k * h / stats.chi2.ppf(0.025, h)
    assert (size.times, size.times_low, size.times_high) == pytest.approx((k, *ends))
    assert line.is_equivalent(90) == (abs(found.value) + stats.t.ppf(0.95, found.df) * found.error < 90)
    assert main(["compare", *map(str, three[:2]), "--metrics", "mIoU", "--effect", "2", "--margin", "90", "--all"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"finds +for 2\n", printed) and "within ± 90" in printed and f"{size.smallest:.2f}" in printed
    assert re.search(rf"{times(size)}\n".replace("(", r"\(").replace(")", r"\)"), printed)


def test_the_best_stands_first_whichever_way_a_score_goes(three):
    found = compare(three, ["accuracy", "error", "RUM"])
    assert ["fair", "bad"] in found.alike["accuracy"]["mean"]
    assert any(group[-2:] == ["fair", "bad"] for group in found.alike["error"]["mean"])
    lines = found.tables["all"]
    for metric, groups in found.alike.items():
        scores = scores_in(lines[metric])
        for group in groups.get("mean", []):  # none of a constant difference
            values = [scores[name] for name in group]
            assert values == sorted(values, reverse=metric == "accuracy")


def test_by_size_and_class(three):
    found = compare(three[:2], ["mIoU", "accuracy"], by=["size", "class"])
    sizes = found.tables["size"]
    assert {line.part for line in sizes["mIoU"]} <= set(SIZES) and "absent" in {x.part for x in sizes["accuracy"]}
    classes = found.tables["class"]["mIoU"]
    assert [(x.fold, x.part) for x in classes] == [
        ("0", "red"), ("0", "green"), ("0", "blue"), ("1", "yellow"), ("1", "cyan"), ("1", "magenta"),
    ]  # fmt: skip
    record = read_record(three[1] / "0")
    red = record.episodes.filter((pl.col("slot") > 0) & (pl.col("class_id") == 1))
    union = red["pred"] + red["gt"] - red["tp"] + red["pred_void"]
    assert classes[0].scores[1] == pytest.approx(100 * red["tp"].sum() / union.sum())
    assert classes[0].estimate.queries == red["query"].n_unique() and size_of_test(classes[0], Asked()) is None
    by_class = [line.episodes for line in classes]
    counts = record.episodes.filter(pl.col("slot") > 0).group_by("class_id").agg(pl.col("episode").n_unique())
    assert by_class[:3] == counts.sort("class_id")["episode"].to_list()


def test_some_folds_and_a_baseline(three, make, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    shutil.move(make("late", 1, 3).path, one / "1")
    found = compare([*three, one], ["mIoU"], baseline="late", folds=[1])
    assert [(x.method, x.minus, x.fold) for x in found.tables["all"]["mIoU"]] == [
        (name, "late", "1") for name in ("good", "fair", "bad")
    ]
    assert found.tables["all"]["mIoU"][0].estimate.value > 0  # better than the baseline
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


def test_an_unknown_baseline_is_near_all_labels_of_a_method(make, tmp_path, refusal):
    for annotation in ("box", "point"):
        rewrite(make("prototype", 0), {"support_annotation": annotation})
    labels = [f"prototype (support_annotation {annotation})" for annotation in ("box", "point")]
    assert f"did you mean '{labels[0]}' or '{labels[1]}'? There are:" in refusal(tmp_path, "--baseline", "prototyp")


def test_refusals(three, make, tmp_path, refusal):
    assert "found only good in" in refusal(three[0]) and "two or more methods" in refusal(three[0])
    assert "no method 'best' to compare with; there are: good, fair, bad" in refusal(*three, "--baseline", "best")
    assert "effect is 0, expected a number of points above 0" in refusal(*three, "--effect", "0")
    assert "margin is nan" in refusal(*three, "--margin", "nan")
    assert "--resamples" in refusal(*three, "--resamples", "500")
    assert "unknown metric 'iou'" in refusal(*three, "--metrics", "iou")
    assert "expected a name that ends in .png" in refusal(*three, "--plot", "x.gif")
    assert "is no folder" in refusal(tmp_path / "nowhere")
    other = [make("m", 0, way=2).path, make("n", 0, episodes=20).path]
    message = refusal(three[0], *other, "--fold", "0")
    assert message.startswith("found runs of good, m, n, no two on the same episodes in ")
    assert all(str(path) in message for path in other)


def test_other_label_maps_are_refused(three, tmp_path, refusal):
    path = shutil.copytree(three[1], tmp_path / "fair") / "0"
    record = read_record(path)
    more = pl.when(pl.col("gt") > 0).then(pl.col("gt") + 1).otherwise(pl.col("gt"))
    frame = record.episodes.with_columns(gt=more, valid=pl.col("valid") + 1)
    written(path, frame, **record.run.as_json())
    message = refusal(three[0], path.parent)
    assert "have the same episodes but other label maps" in message


def test_what_is_printed(three, capsys, tmp_path):
    folders = [str(folder) for folder in three]
    more = ["--by", "fold", "--by", "class", "--plot", str(tmp_path / "cd.svg"), "--all"]
    assert main(["compare", *folders, *more]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith("blocks · 1-way 1-shot") and "mIoU by class" in lines
    assert "accuracy by fold, episodes used: 24 a fold" in lines
    head = next(line for line in lines if line.startswith("first"))
    assert re.split("  +", head) == [
        "first", "second", "of first", "of second", "first − second", "p", "corrected", "finds", "for 1",
    ]  # fmt: skip
    assert "mIoU, mean over folds, episodes used: 24 a fold" in lines
    identical = "bad and fair are identical on these episodes: mIoU "
    assert any(line.startswith(identical) for line in lines[: lines.index("", 2)])  # what follows stands first
    assert any(line.startswith("good") and "0.0" in line and "*" in line for line in lines)
    assert "a trial, not a result" in printed
    drawn = (tmp_path / "cd.svg").read_text()
    assert drawn.count(" good  ") == 3 and "<!-- mIoU, mean over folds -->" in drawn
    assert main(["compare", *folders, *more, "--format", "json"]) == 0
    assert (tmp_path / "cd.svg").read_text() == drawn
    (stated,) = json.loads(capsys.readouterr().out)
    assert stated["tables"]["all"]["mIoU"][0]["difference"]["difference"]["low"] > 0


def pairs(metric="mIoU", **corrected):
    """A row for each pair "AB"; methods score 30, 20, 10 in the order of the alphabet."""
    values = {"A": 30.0, "B": 20.0, "C": 10.0}
    rows = []
    for (first, second), p in corrected.items():
        scores = values[first], values[second]
        found = Estimate(scores[0] - scores[1], p=p)
        rows.append(ResultRow("t", first, "0", metric, found, second, scores=scores, corrected=p))
    return rows


def test_bars_say_what_the_table_says_whatever_the_cards():
    assert bars(pairs(AB=0.3, AC=0.01, BC=0.4)) == ([["A", "B"], ["B", "C"]], "")
    assert bars(pairs(AB=0.01, AC=0.01, BC=0.01)) == ([], "")
    assert bars(pairs("error", AB=0.3, AC=0.01, BC=0.4))[0] == [["C", "B"], ["B", "A"]]
    found, why = bars(pairs(AB=0.01, AC=0.3, BC=0.4))
    assert not found and "A and C are not told apart, but a method between A and C is" in why
    found, why = bars(pairs(AB=0.01, AC=nan, BC=0.4))
    assert not found and "A and C could not be tested" in why


def test_the_picture_shows_methods_at_their_scores(three, tmp_path):
    from PIL import Image

    from fsbench.results.comparison.layout import plot

    plot(tmp_path / "cd.png", [compare(three, ["mIoU"])])
    pixels = np.asarray(Image.open(tmp_path / "cd.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 80)  # the bar over fair and bad, which are alike to the digit
    columns = np.nonzero(red.any(0))[0]
    assert len(columns) and columns.max() < pixels.shape[1] / 3  # good, the best, is on the right


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
        target, place = truth(record)(episode.number), (names.index(episode.query), classes.index(episode.classes[0]))
        distance = max(1, round(0.02 * np.hypot(*target.shape)))
        edges = [m & ~eroded(m, distance) for m in (stored.label_map(episode.number) == 1, target == 1)]
        boundary[place] += [(edges[0] & edges[1]).sum(), (edges[0] | edges[1]).sum()]
        shown[place] += (target == 1).sum()
        row = there[episode.number]
        presence[place[0], max(int(np.ceil(row["score"] * BINS)) - 1, 0)] += [1, row["score"], row["present"]]
    return boundary, shown, presence


@pytest.mark.slow(2)
def test_scores_of_stored_predictions_are_compared_as_others_are(make, blocks_folder):
    data = Folder(str(blocks_folder))

    def truth(record):
        episodes = {e.number: e for e in record.manifest.episodes}
        return lambda number: way_labels(data.label_map(episodes[number].query), episodes[number].classes)

    records = [make("exact", 0, keep="soft"), make("rows", 0, 2, wrong=4, keep="masks"), make("bare", 0, 3)]
    names = [metric.name for metric in COMMON if metric.is_measured]
    measured = partial(measure, metrics=names, open_truth=truth)
    found = compare([r.path for r in records], names, measure=measured)
    assert {note for note in found.warnings if "no pixel-ECE" in note or "no boundary-IoU" in note} == {
        f"{records[1].path.name}: no pixel-ECE, pixel-CE2: it kept no soft masks (--keep-predictions soft)",
        f"{records[2].path.name}: no boundary-IoU, pixel-ECE, pixel-CE2: the run kept no predictions (repeat it with "
        "--force)",
    }
    assert "pixel-ECE" not in found.tables["all"]  # one method alone has soft masks
    assert [len(found.tables["all"][name]) for name in names[:2]] == [1, 3]
    sums = [plain_measures(record, truth) for record in records[:2]]
    boundary, presence = (found.tables["all"][name][0] for name in names[:2])
    assert (boundary.method, boundary.minus) == ("exact", "rows") and boundary.estimate.value != 0

    def boundary_iou(without):
        """Boundary IoU of both runs without one query image, of classes that have boundaries."""
        kept = np.arange(len(sums[0][1])) != without
        shares = [edges[kept].sum(0) for edges, _, _ in sums]
        return np.array([100 * np.mean([i / u for i, u in share if u > 0]) for share in shares])

    whole = boundary_iou(-1)
    assert boundary.scores == pytest.approx(whole)
    moved = [whole - boundary_iou(image) for image in range(len(sums[0][1]))]
    assert boundary.estimate.variances[0] == pytest.approx(sum((a - b) ** 2 for a, b in moved))
    errors = [100 * np.abs(bins[:, 1] - bins[:, 2]).sum() / bins[:, 0].sum() for _, _, bins in (
        (*one[:2], one[2].sum(0)) for one in sums
    )]  # fmt: skip
    assert presence.scores == pytest.approx(errors)
    assert isnan(presence.estimate.low) and isnan(presence.estimate.p)  # its square beside it has both
    (square,) = (x.estimate for x in found.tables["all"]["presence-CE2"] if x.minus == "rows")
    assert square.low <= square.value <= square.high


def test_a_trial_beside_longer_runs_is_a_comparison_of_its_own(three, make, tmp_path, capsys):
    """A trial and a longer run share the folder that `bench --fast` suggests; the p of each are corrected apart."""
    runs = tmp_path / "all"
    for method in ("good", "fair"):
        for fold in (0, 1):
            shutil.copytree(next(one for one in three if one.name == method) / str(fold), runs / f"{method}-{fold}")
            trial = make(method, fold, 2, wrong=3, episodes=5)
            shutil.move(trial.path, runs / f"trial-{method}-{fold}")
    alone = compare([three[1], three[0]], ["mIoU"])  # in the order of their names
    longer, trial = compare_tests(compared_tests([runs]), Comparing(["mIoU", "accuracy"]))
    assert longer.rows[0].scores == alone.rows[0].scores and longer.rows[0].estimate == alone.rows[0].estimate
    assert all("trial-" in path for paths in trial.methods.values() for path in paths) and "5 episodes" in trial.title
    for one in (longer, trial):
        assert one.comparisons == sum(not isnan(row.estimate.p) for row in one.rows)
    assert main(["compare", str(runs)]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("blocks · 1-way 1-shot") == 2 and not printed.err
    for fold in (0, 1):
        shutil.rmtree(runs / f"fair-{fold}")  # then the trials alone are of two methods
    (trial,) = compare_tests(compared_tests([runs]))
    assert "not compared, because no other method ran the same episodes: good-0, good-1" in trial.warnings


def test_methods_are_compared_on_the_most_folds_that_two_share(three, make):
    lone = make("lone", 0, 3).path
    found = compare([*three, lone], ["mIoU"])
    assert {line.fold for line in found.tables["all"]["mIoU"]} == {"mean"} and len(found.methods) == 3
    assert found.warnings[0] == "left out, because not all of fold 0, 1 was run: lone"
    assert to_sheet(found).notes[0] == found.warnings[0]
    with_lone = compare([*three, lone], ["mIoU"], baseline="lone")
    assert len(with_lone.tables["all"]["mIoU"]) == 3 and {x.fold for x in with_lone.tables["all"]["mIoU"]} == {"0"}
    two = compare([three[0], lone], ["mIoU"])
    assert {line.fold for line in two.tables["all"]["mIoU"]} == {"0"} and list(two.methods) == ["good", "lone"]
    assert two.warnings[0] == "compared on fold 0, which all methods have; further folds of good are not counted"


@pytest.mark.parametrize("count", [7, pytest.param(33, marks=pytest.mark.slow(2))])
def test_of_many_methods_the_best_against_the_next_come_first(three, count):
    """The lines of a short comparison do not grow with the methods; all pairs are there on request."""
    found = compare(three, ["mIoU", "accuracy"])
    some = found.tables["all"]["mIoU"][0]
    names = [f"m{number}" for number in range(count)]
    rows = [
        replace(some, metric=metric, method=first, minus=second, scores=(scores[first], scores[second]), corrected=p)
        for metric, scores in (
            ("mIoU", {name: float(number) for number, name in enumerate(names)}),
            ("accuracy", {name: -float(number) for number, name in enumerate(names)}),
        )
        for first, second, p in ((one, other, 0.5) for one, other in combinations(names, 2))
    ]
    alike = {metric: {MEAN: [names[::-1], names[:2]]} for metric in ("mIoU", "accuracy")}
    many = replace(found, rows=rows, methods={name: [name] for name in names}, alike=alike)
    short, whole = to_sheet(many, all_pairs=False), to_sheet(many)
    next_ones = min(count - 1, 15)
    for table, first, others in zip(
        short.tables, (names[-1], "m0"), (names[-2::-1][:next_ones], names[1:][:next_ones]), strict=True
    ):
        assert [[cell.value for cell in line.cells[:2]] for line in table.lines] == [[first, one] for one in others]
    shown, pairs = 2 * next_ones, count * (count - 1)
    assert short.notes[0].startswith(f"Shown are {shown} of {pairs:,} differences: the first method against")
    assert len(text([short], 120, True).splitlines()) < 60
    assert [len(table.lines) for table in whole.tables] == [pairs // 2] * 2
    baseline = replace(many, rows=[row for row in rows if row.method == "m0"], alike={})
    assert [len(table.lines) for table in to_sheet(baseline, all_pairs=False).tables] == [count - 1] * 2


def test_runs_of_one_method_in_two_folders_are_named_by_what_differs(make, tmp_path):
    """Also where each is given by its own folder; equal settings have the folders' names."""
    first = make("m", 0)
    second = rewrite(make("m", 0, quality=2), {"method": {"name": "m", "layers": 2}})
    methods = label_methods([first, second], [first.path, second.path])
    assert list(methods) == ["m", "m (layers 2)"]
    copy = Path(shutil.copytree(first.path, tmp_path / "elsewhere" / first.path.name))
    alike = label_methods([first, read_record(copy)], [first.path, copy])
    assert list(alike) == [f"{first.path.name}: m", f"{copy}: m"]
