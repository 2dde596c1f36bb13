"""Leaderboard, differences and heat maps of a report against the records, the comparison and plain implementations."""

import re
from functools import partial
from itertools import combinations

import numpy as np
import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.pages.look.theme import STYLE
from fsbench.pages.report.collect import collect, select_methods
from fsbench.pages.report.costs import TIMED, RunCost
from fsbench.pages.report.curves import Curve
from fsbench.pages.report.differences import bearing
from fsbench.pages.report.plots import DIVERGING, cost_plot, heat_plot, size_plot
from fsbench.pages.report.scores import heat
from fsbench.pages.report.scores.leaderboard import build_leaderboard
from fsbench.pages.report.spread import cost_plot_gap, curve_plot_gap, size_plot_gap
from fsbench.pages.report.workers import SerialExecutor
from fsbench.results.comparison.compare import Comparing, compare_methods
from fsbench.results.comparison.layout import to_sheet
from fsbench.results.rows.parts import pairs_by_size
from fsbench.results.sheets.cells import places
from fsbench.results.sheets.legend import explain
from fsbench.scores.estimate import Estimate, Scope
from tests.fsbench.scores.once import differences_once


def test_best_and_second_are_those_that_are_printed():
    cells = ["50.1", "50.1", "49.0", "40.0", "60.0"]
    scores = [Estimate(value, value - 1, value + 1) for value in (50.11, 50.14, 49.0, 40.0, 60.0)]
    marks = [0, 0, 0, 0, 1]
    assert places(cells, scores, marks, "mIoU") == ["best", "best", "second", "", ""]  # the last one is alone
    assert places(cells, scores, [0] * 5, "error") == ["", "", "second", "best", ""]
    assert places(["–", "1.0"], [None, Estimate(1.0, 0.5, 1.5)], [0, 0], "mIoU") == ["", ""]


def test_a_figure_without_an_interval_has_no_place():
    bare = [Estimate(value, scope=Scope.NONE) for value in (60.0, 50.0, 40.0)]
    known = [Estimate(value, value - 1, value + 1) for value in (55.0, 45.0)]
    assert places(["60.0", "50.0"], bare[:2], [0, 0], "mIoU") == ["", ""]
    cells, scores = ["60.0", "55.0", "45.0"], [bare[0], *known]
    assert places(cells, scores, [0] * 3, "mIoU") == ["", "second", ""]  # 55 is not said to be the best
    assert places(["55.0", "45.0", "40.0"], [*known, bare[2]], [0] * 3, "mIoU") == ["best", "second", ""]


def test_the_leaderboard_has_the_scores_of_the_records(study):
    comparison, *_ = study.compared.result()
    board = build_leaderboard(study, comparison)
    assert [column.head for column in board.columns][:3] == ["mIoU 3⁰", "mIoU 3¹", "mIoU mean"]
    usual = [column.key for column in board.columns if column.usual]
    assert usual[:5] == ["mIoU.0", "mIoU.1", "mIoU.mean", "FB-IoU.mean", "accuracy.mean"]
    methods, answers, (best,) = board.lines("method"), board.lines("answer"), board.lines("best answer")
    for line in methods:
        label, *cells = line.cells
        folds = []
        for fold, record in study.shown[label.value].items():
            table = record.episodes.filter(record.episodes["slot"] > 0)
            by_class = [frame for _, frame in table.group_by("class_id")]
            ious = [f["tp"].sum() / (f["pred"].sum() + f["gt"].sum() - f["tp"].sum()) for f in by_class]
            folds.append(100 * np.mean(ious))
            assert cells[fold].value == pytest.approx(folds[-1])
        assert cells[2].value == pytest.approx(np.mean(folds))
    means = [line.cells[3].value for line in methods]
    assert means == sorted(means, reverse=True) and methods[0].cells[3].place == "best"
    assert best.cells[3].value == max(line.cells[3].value for line in answers)
    assert best.cells[3].note in {line.cells[0].value for line in answers}
    apart = {frozenset((x.method, x.minus)): x for x in comparison.tables["all"]["mIoU"]}
    for first, second in combinations(methods, 2):
        shared = set(first.cells[3].letters) & set(second.cells[3].letters)
        assert bool(shared) != apart[frozenset((first.cells[0].value, second.cells[0].value))].significant
    assert {bool(x.significant) for x in apart.values()} == {True, False}


def test_differences_are_those_of_the_comparison(study):
    parted, labels = study.compared.result().parts, list(study.methods)
    assert parted.kinds() == ["class", "size", "fold", "presence"] and parted.metrics == ["mIoU", "accuracy"]
    first, second = study.methods[labels[0]], study.methods[labels[2]]
    two = {labels[0]: first, labels[2]: second}
    exact = compare_methods(two, Comparing(["mIoU", "accuracy"], ("fold", "size", "class"))).rows
    for kind in ("class", "size", "fold"):
        for metric in ("mIoU", "accuracy"):
            rows = {(row.fold, row.part): row for row in parted.between(labels[0], labels[2], kind, metric)}
            found = {(row.fold, row.part): row for row in exact if (row.part_kind, row.metric) == (kind, metric)}
            found = {place: row for place, row in found.items() if row.part != "absent"}
            assert rows.keys() == found.keys() and rows
            for place, row in rows.items():
                one, other = row.estimate, found[place].estimate
                assert row.scores == pytest.approx(found[place].scores) and one.queries == other.queries
                assert (one.low, one.high) == pytest.approx((other.low, other.high), nan_ok=True)
    first, second = study.shown[labels[0]], study.shown[labels[2]]
    protocol = first[0].protocol
    keeps = [pairs_by_size(first[fold].episodes)["5-10"] for fold in (0, 1)]
    sides = [
        [protocol.subset_statistics(runs[fold].episodes, keeps[fold], runs[fold].header) for fold in (0, 1)]
        for runs in (first, second)
    ]
    expected = differences_once(*sides)["mIoU"]
    rows = parted.between(labels[0], labels[2], "size", "mIoU")
    (found,) = (row.estimate for row in rows if row.part == "5-10")
    same = pytest.approx((expected.value, expected.low, expected.high), nan_ok=True)
    assert (found.value, found.low, found.high) == same


def test_one_correction_holds_for_all_that_a_page_says(study):
    """Holm's method with weights over the matrix of pairs and the differences by parts (statistics.md §7), by hand."""
    pairs, _, parts = study.compared.result()
    rows = [*pairs.rows, *parts.rows]
    assert {row.part_kind for row in rows} == {"all", "class", "size", "fold", "presence"}
    lines = [(row.estimate.p, row.part_kind == "all" and row.metric == "mIoU", row.significant) for row in rows]
    tested = [line for line in lines if line[0] == line[0]]
    assert pairs.comparisons == len(tested)
    main = sum(first for _, first, _ in tested)
    weights = {True: 0.8 / main, False: 0.2 / (len(tested) - main)}
    left, highest = 1.0, 0.0
    for p, first, apart in sorted(tested, key=lambda line: line[0] / weights[line[1]]):
        highest = max(highest, p / weights[first] * left)
        assert apart == (highest < 0.05)
        left -= weights[first]
    assert 0 < sum(apart for *_, apart in tested) < len(tested)
    assert any(f"({pairs.comparisons} comparisons)" in line for line in explain(to_sheet(pairs)))


def test_a_difference_turned_around_has_the_other_sign(study):
    parted, (_, one, _, other) = study.compared.result().parts, study.methods
    there, back = parted.between(one, other, "class", "mIoU"), parted.between(other, one, "class", "mIoU")
    assert [(row.part, row.fold) for row in there] == [(row.part, row.fold) for row in back][::-1]
    for row, turned in zip(there, back[::-1], strict=True):
        assert row.scores == turned.scores[::-1] and bearing(row) == bearing(turned)
        ends = (-turned.estimate.high, -turned.estimate.low)
        assert (row.estimate.low, row.estimate.high) == pytest.approx(ends, nan_ok=True)
    moved = [row.estimate.value for row in there]
    assert moved == sorted(moved, reverse=True)
    absent = [row for row in parted.between(one, other, "presence", "accuracy") if row.part == "absent"]
    assert len(absent) == 1 and "absent" not in {row.part for row in parted.between(one, other, "presence", "mIoU")}


def test_the_heat_map_is_scaled_by_what_it_shows(study):
    classes = heat.class_heat_map(study, "mIoU")
    assert len(classes.names) == 6 and classes.methods == list(study.methods)
    moved = classes.differences(1)
    assert (moved[1] == 0).all() and np.abs(moved).max() > 5
    scale = heat.difference_scale(moved)
    assert np.percentile(np.abs(moved[moved != 0]), 98) <= scale <= 2 * np.abs(moved).max()
    assert heat.difference_scale(np.array([[0.031, -0.001]])) == pytest.approx(0.04)
    assert heat.difference_scale(np.array([[0.0, np.nan]])) == 1.0
    levels = [heat.difference_level(value, 10.0, "mIoU") for value in (-99.0, -10.0, -0.9, 0.0, 4.1, np.nan)]
    assert levels == ["w5", "w5", "even", "even", "b2", "none"]
    assert heat.difference_level(4.1, 10.0, "error") == "w2"
    assert [heat.score_level(value, 37.0, 58.0) for value in (37.0, 47.5, 58.0, None)] == ["h0", "h5", "h10", "none"]


def test_small_axes_span_the_intervals_of_methods_and_a_single_one_has_none(study):
    scores = [of["mIoU"] for (method, _), of in study.block.lines.items() if method in study.methods]
    ends = [end for score in scores for end in (score.low, score.high)]
    assert heat.score_scale(study, "mIoU") == (min(ends), max(ends))
    (alone,) = collect(study.records[:1], ["mIoU"], SerialExecutor())
    assert heat.score_scale(alone, "mIoU") is None and alone.compared.result().parts is None


def test_a_page_and_its_files_have_the_same_colors():
    style = STYLE.read_text()
    steps = [f"w{n}" for n in range(5, 0, -1)] + ["even"] + [f"b{n}" for n in range(1, 6)]
    assert [re.search(rf"\.{step}{{background:(#\w+)", style)[1] for step in steps] == list(DIVERGING)
    values = np.array([[0.0, 10.0], [0.0, -10.0]])
    drawn = {metric: heat_plot(["x", "y"], ["a", "b"], values, 10.0, metric, "s") for metric in ("mIoU", "error")}
    for metric, svg in drawn.items():
        assert f"{metric} minus that of a" in svg and "+10.0" in svg and "-10.0" in svg
    assert drawn["mIoU"] != drawn["error"].replace("error", "mIoU")


def test_a_plot_that_would_show_nothing_says_why():
    one, other = Estimate(5, 4, 6), Estimate(7, 6, 8)
    costs = [RunCost("a", one, {"total": 3.0, "memory": 1.0}), RunCost("b", other, {"total": 3.0, "memory": 2.0})]
    gap = partial(cost_plot_gap, metric="mIoU", methods=2, episodes=100)
    assert "all methods have 3." in gap(costs, "total")
    assert gap(costs, "memory") == "No plots of two methods: the table below says as much."
    assert gap([*costs, RunCost("c", other, {"memory": 3.0})], "memory") == ""
    assert "do not state" in gap(costs, "seconds") and "no method has mIoU" in gap([], "total")
    assert "there is only one method" in cost_plot_gap(costs[:1], "total", "mIoU", 1, 100)
    assert gap(costs[:1], "total") == "No plots: only a has mIoU. The figures are in the table below."
    assert "the 2 methods with both figures have 3." in cost_plot_gap(costs, "total", "mIoU", 3, 100)
    flat = [RunCost(name, Estimate(5, 5, 5), {"total": x}) for name, x in (("a", 1.0), ("b", 2.0))]
    assert "all methods have the same score" in gap(flat, "total")
    assert size_plot_gap({"a": {"0-5": one, "5-10": other}}) == ""
    assert "only objects of 0-5 %" in size_plot_gap({"a": {"0-5": one}})
    assert "no object size has enough images" in size_plot_gap({"a": {}})
    assert "no scores by object size" in size_plot_gap({})
    assert curve_plot_gap([Curve("a", 0, [0, 1], [3.0, 4.0])]) == ""
    assert "needs two validations" in curve_plot_gap([Curve("a", 0, [0], [3.0]), Curve("b", 0, [0], [4.0])])
    assert "3.00 throughout" in curve_plot_gap([Curve("a", 0, [0, 1], [3.0, 3.0])])
    assert "nothing was trained" in curve_plot_gap([])


def test_only_the_methods_that_are_asked_for(study, tmp_path, capsys):
    records = study.records
    chosen = select_methods(records, ["good", "poor"])
    assert {record.run.identity.method.name for record in chosen} == {"good", "poor"} and len(chosen) == 6
    assert select_methods(records, []) == records
    with pytest.raises(SettingsError, match=r"no run of god; did you mean 'good'\? There are: =fair, good, poor"):
        select_methods(records, ["god"])
    runs = str(records[0].path.parent)
    assert main(["report", runs, "--out", str(tmp_path / "r"), "--method", "cat"]) == 2
    assert "--method cat: no run of cat" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_a_speed_of_few_episodes_is_not_plotted_and_draws_no_front():
    one, other = Estimate(5, 4, 6), Estimate(7, 6, 8)
    costs = [RunCost(name, score, {"seconds": x}) for name, score, x in (("a", one, 0.1), ("b", other, 0.2))]
    assert "the time of 20 episodes is mostly the time of starting" in cost_plot_gap(costs, "seconds", "mIoU", 2, 20)
    assert cost_plot_gap(costs, "seconds", "mIoU", 2, TIMED).startswith("No plots of two methods")
    drawn = [cost_plot(costs, "seconds", "mIoU", "s", has_front=front).count("stroke-dasharray") for front in (0, 1)]
    assert drawn == [0, 1]


def test_sizes_stand_with_their_intervals_and_images_and_without_a_line_between_them():
    sizes = {
        "0-5": Estimate(50, 40, 60, queries=27),
        "5-10": Estimate(52, 45, 59, queries=31),
        "10-15": Estimate(53, 45, 59, queries=33),
    }
    svg = size_plot(dict.fromkeys("abcdef", sizes), "mIoU", "s")
    assert svg.count('id="LineCollection') == 6 * (3 + 1)  # an interval for each size that has one, and in the legend
    assert all(f">{number}<" in svg for number in (27, 31, 33)) and svg.count(">too few<") == 1
    paths = re.findall(r'<path d="([^"]*)"', svg)
    assert not [path for path in paths if path.count("L") >= 2 and "z" not in path], "no line leads from size to size"
