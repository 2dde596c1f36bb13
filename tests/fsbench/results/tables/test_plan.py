"""Plans of tests: numbers against plain loops over the records' rows, trainings by seed, what is refused."""

import csv
import io
import json
from math import ceil, sqrt
from statistics import stdev

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fsbench.base.errors import SettingsError
from fsbench.base.files.figures import check_figure
from fsbench.cli.main import main
from fsbench.doors.runs import load_runs
from fsbench.records.record import read_record
from fsbench.results.tables.analyses import PLAN
from fsbench.results.tables.formats import text
from fsbench.results.tables.plan.plan import DRAWS, EPISODES, QUERIES, SUPPORTS, TRAININGS, plans
from fsbench.scores.planning import power_of
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.runs import changed, written
from tests.fsbench.scores import plain_statistics as plain
from tests.fsbench.scores.test_planning import plain_share

QUALITIES = {"good": 0.6, "good (b)": 0.5, "good (c)": 0.7, "poor": 0.45, "poor (b)": 0.4}
SEEDS = [0, 1, 2, 0, 1]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two folds of good with three trainings and of poor with two, on 200 episodes of 2 classes each.

    Good finds less in some of the query images, whatever the supports.
    """
    found = []
    drawn = write_study(tmp_path_factory.mktemp("runs") / "runs", QUALITIES, folds=2, classes=4, episodes=200)
    for number, record in enumerate(drawn):
        identity = record.run.identity.as_json()
        own = {"method": {"name": identity["method"]["name"]}, "seed": SEEDS[number % 5]}
        less = pl.col("query").str.ends_with("0") & (identity["method"]["name"] == "good")
        frame = record.episodes.with_columns(tp=pl.when(less).then(pl.col("tp") // 4).otherwise(pl.col("tp")))
        written(record.path, frame, **record.run.as_json() | {"identity": identity | own})
        found.append(read_record(record.path))
    return found


def plain_rows(records):
    """The rows of one method's runs on all folds as the plain loops take them, from the count tables."""
    numbers, rows = {}, []
    for record in records:
        episodes = {episode.index: episode for episode in record.manifest.episodes}
        for row in record.episodes.filter(record.episodes["slot"] > 0).iter_rows(named=True):
            (supports,) = episodes[row["episode"]].supports
            names = (episodes[row["episode"]].query, *supports)
            query, *shown = (numbers.setdefault(name, len(numbers)) for name in names)
            counts = (row["tp"], row["pred"] + row["gt"] - row["tp"] - row["pred_void"])
            rows.append(plain.Row(query, tuple(shown), row["class_id"], record.header.fold, 0, counts))
    return rows


def of(records, method, seed):
    return [r for r in records if (r.run.identity.method.name, r.run.identity.seed) == (method, seed)]


def test_a_plan_has_the_numbers_of_plain_loops(records):
    (plan,) = plans(records, ["good", "poor"], effect=1.5, power=0.9)
    pairs = [(plain_rows(of(records, "good", seed)), plain_rows(of(records, "poor", seed))) for seed in (0, 1)]
    score = plain.over_folds(plain.miou_of_run)
    found = max((plain.estimate(score, *pair) for pair in pairs), key=lambda one: one.error)  # the upper of two middles
    assert (plan.found.error, plan.found.df) == pytest.approx((found.error, found.df))
    wanted = stats.t.ppf(0.975, found.df) + stats.t.ppf(0.9, found.df)
    times, half = (wanted * found.error / 1.5) ** 2, found.df / 2
    expected = [times, times * half / stats.chi2.ppf(0.975, half), times * half / stats.chi2.ppf(0.025, half)]
    assert plan.times == pytest.approx(expected) and plan.smallest == pytest.approx(wanted * found.error)
    rows = pairs[0][0]
    here = {QUERIES: len({row.query for row in rows}), SUPPORTS: len({row.supports for row in rows}), EPISODES: 200}
    needs = {need.what: need for need in plan.needs}
    for what, number in here.items():
        numbers = [ceil(factor * number - 1e-9) for factor in expected]
        need = needs[what]
        assert (need.here, [need.needed, need.low, need.high], need.unknown) == (number, numbers, "")
    assert sum(plan.parts.values()) == pytest.approx(1) and plan.fold == "mean"
    first, second = max(pairs, key=lambda pair: plain.estimate(score, *pair).error)
    whole = score(first) - score(second)
    cells = list(dict.fromkeys((row.query, row.supports) for row in first))

    def without(cell):
        return [[row for row in rows if (row.query, row.supports) != cell] for rows in (first, second)]

    influences = [whole - (score(ours) - score(theirs)) for ours, theirs in map(without, cells)]
    cls = {(row.query, row.supports): row.cls for row in first}
    query = [(cell[0], cls[cell]) for cell in cells]
    share = plain_share(influences, query, found.error**2)
    assert 0 < share < 1 and plan.parts[QUERIES] == pytest.approx(share)
    left = (1.5 / wanted / found.error) ** 2 - share
    assert needs[DRAWS].needed == (None if left <= 0 else max(ceil((1 - share) / left), 1))


def test_trainings_differ_in_the_seed_alone(records):
    (plan,) = plans(records, ["poor", "good"], effect=4.0)

    def score(record):
        return record.protocol.statistics(record.episodes, record.header).scores()["mIoU"]

    seeds = {"poor": (0, 1), "good": (0, 1, 2)}
    scores = {
        name: [np.mean([score(r) for r in of(records, name, seed)]) for seed in own] for name, own in seeds.items()
    }
    assert plan.methods == ("poor", "good")
    assert plan.deviations == pytest.approx({name: stdev(values) for name, values in scores.items()})
    need = plan.needs[-1]
    total = sum(stdev(values) ** 2 for values in scores.values())
    squares = sum(stdev(values) ** 4 for values in scores.values())

    def is_enough(number):
        df = total**2 * (number - 1) / squares
        return (stats.t.ppf(0.975, df) + stats.t.ppf(0.8, df)) * sqrt(total / number) <= 4.0

    assert (need.what, need.here) == (TRAININGS, 2) and is_enough(need.needed) and not is_enough(need.needed - 1)
    (single,) = plans([*of(records, "good", 0), *of(records, "poor", 0)])
    assert single.needs[-1].unknown.startswith("one training of good, poor") and not single.deviations
    untrained = [changed(r, {"training": None}) for r in records if r.run.identity.seed == 0]
    assert plans(untrained)[0].needs[-1].unknown == "neither method is trained"


def test_a_fold_alone_has_a_plan_of_its_own(records):
    found = plans([record for record in records if record.header.fold == 1])
    assert [(plan.fold, plan.title.endswith("fold 1")) for plan in found] == [("1", True)]
    assert found[0].found.queries < plans(records)[0].found.queries


def test_runs_that_name_no_supports_plan_query_images_alone(records):
    bare = [changed(record) for record in records]
    for record in bare:
        record.__dict__["episodes"] = record.episodes.drop("supports")
    (plan,) = plans(bare)
    needs = {need.what: need for need in plan.needs}
    assert plan.found.scope == "these supports" and not plan.parts
    assert needs[QUERIES].needed and needs[SUPPORTS].needed is None and "--draws 5" in needs[DRAWS].unknown
    shown = text([PLAN.sheet(plan, 80)], 80)
    assert "e+" not in shown and "a true difference of 1 point of mIoU" in " ".join(shown.split())
    assert "for these supports only" in shown and "times as many query images" in " ".join(shown.split())


def test_what_is_printed_fits_and_is_in_every_format(records, tmp_path, capsys):
    runs, figure = str(records[0].path.parent), tmp_path / "plan.svg"
    words = ["plan", "--runs", runs, "--method", "good,poor", "--difference", "2", "--power", "0.9"]
    assert main([*words, "--json", "--plot", str(figure)]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    (plan,) = plans(records, ["good", "poor"], 2.0, power=0.9)
    assert shown["times"] == pytest.approx(plan.times) and shown["effect"] == 2
    assert [need["needed"] for need in shown["needs"]] == [need.needed for need in plan.needs]
    check_figure(figure)
    assert main([*words, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["what"]: row["needed"] for row in rows[1:]} == {
        need.what: "" if need.unknown else "no number" if need.needed is None else str(need.needed)
        for need in plan.needs
    }
    for width in (80, 120):
        lines = text([PLAN.sheet(plan, width)], width).splitlines()
        assert max(map(len, lines)) <= width and any("new ones" in line for line in lines)
    impossible = plans(records, ["good", "poor"], 0.001)[0]
    assert "no number" in text([PLAN.sheet(impossible, 80)], 80)


def test_the_picture_shows_the_power_of_every_size(records):
    from matplotlib.figure import Figure

    (plan,) = plans(records, ["good", "poor"])
    axis = Figure().subplots()
    PLAN.panels(plan)["power"](axis)
    power, mark = axis.get_lines()[:2]
    sizes = power.get_xdata()
    assert list(power.get_ydata()) == pytest.approx([power_of(plan.found, 1.0, size) for size in sizes])
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (plan.times[0], 0.8)
    assert sizes[0] < plan.times[1] and sizes[-1] > plan.times[2] and sizes[0] < 1 < sizes[-1]


def test_what_cannot_be_planned_is_refused_in_one_line(records, capsys):
    runs = records[0].path.parent
    for words, message in (
        (["--method", "good,por"], "there is no run of por; did you mean 'poor'?"),
        (["--method", "good"], "expected two methods, such as --method a,b"),
        (["--method", "good,poor", "--difference", "0"], "expected points above 0"),
        (["--method", "good,poor", "--difference", "nan"], "expected points above 0"),
        (["--method", "good,poor", "--power", "1"], "expected a number between 0.05 and 1"),
        (["--metric", "mIuO"], "unknown metric 'mIuO'; did you mean 'mIoU'?"),
        (["--metric", "AUROC"], "--metric is AUROC, which"),
        (["--metric", "ROM"], "--metric is ROM, whose differences are no points; expected one in percent"),
        (["--plot", "plan.txt"], "expected a name that ends in .png"),
    ):
        assert main(["plan", str(runs), *words]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    one = [record for record in records if record.run.identity.method.name == "good"]
    with pytest.raises(SettingsError, match=r"no two methods have runs on the same episodes \(good\)"):
        plans(one)
    with pytest.raises(SettingsError, match="answer alike on these episodes"):
        plans([*one, *(changed(record, {"method": {"name": "copy"}}) for record in one)])
    third = [changed(record, {"method": {"name": "third"}}) for record in one]
    with pytest.raises(SettingsError, match="found runs of good, poor, third; expected --method with two of them"):
        plans([*records, *third])
    poor = [record for record in records if record.run.identity.method.name == "poor"]
    variants = [changed(record, {"method": {"name": "good", "width": width}}) for width in (1, 2) for record in one]
    expected = r"good has runs of several settings; expected one of: good \(width 1\); good \(width 2\)"
    with pytest.raises(SettingsError, match=expected):
        plans([*poor, *variants], ["good", "poor"])
    assert plans([*poor, *variants], ["good (width 2)", "poor"])[0].methods == ("good (width 2)", "poor")


def test_a_plan_in_python_is_that_of_the_command(records):
    runs = load_runs(records[0].path.parent)
    found = runs.plan("poor", "good", difference=2.0)
    (plan,) = plans(records, ["poor", "good"], 2.0)
    assert found.plans == [plan]
    assert found.text == PLAN.write([plan], "text", 120)
    columns = ["what", "here", "needed", "low", "high"]
    assert found.frame.select(columns).rows() == [tuple(getattr(need, name) for name in columns) for need in plan.needs]
    assert "support images" in found._repr_html_()


def test_queries_that_are_asked_once_are_not_told_from_their_episodes(tmp_path):
    few = write_study(tmp_path / "runs", {"good": 0.6, "poor": 0.45}, folds=1, classes=2, episodes=20)
    (plan,) = plans([read_record(record.path) for record in few])
    needs = {need.what: need for need in plan.needs}
    assert "cannot be told apart" in needs[DRAWS].unknown
    assert not plan.parts
