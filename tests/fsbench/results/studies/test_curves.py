"""Curves by the number of shots: which runs belong to one, their figures, and what is refused."""

import csv
import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.pages.explain.query_objects import count_objects
from fsbench.records.record import find_records
from fsbench.results.sheets.fitting import cell_texts
from fsbench.results.studies.analyses import CURVES
from fsbench.results.studies.sweep.axes import AXES
from fsbench.results.studies.sweep.curves import curve_tables, found_tables
from fsbench.results.studies.sweep.differences import is_along
from fsbench.results.studies.sweep.objects import object_tables
from fsbench.results.studies.sweep.plot import panels, plot_panel
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.runs import changed, written
from tests.fsbench.scores.once import differences_once, scores_once


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Runs of two methods with 1 and 5 shots, and of the first with 20. No test changes them."""
    found, folder = [], tmp_path_factory.mktemp("shots")
    for shot, methods in ((1, {"a": 0.5, "b": 0.4}), (5, {"a": 0.6, "b": 0.7}), (20, {"a": 0.8})):
        found += write_study(folder / str(shot), methods, 1, 4, episodes=30, shot=shot, nested_in=20)
    return found


@pytest.fixture(scope="module")
def table(records):
    """Their curves."""
    (found,) = curve_tables(records)
    return found


def test_runs_that_differ_in_shots_alone_are_a_curve(records, table, tmp_path, capsys):
    assert table.axis == "shots" and table.numbers == [1, 5, 20] and table.nested
    assert [(c.method, [p.number for p in c.points]) for c in table.curves] == [("a", [1, 5, 20]), ("b", [1, 5])]
    by_run = {str(r.path): r.protocol.statistics(r.episodes, r.header).scores()["mIoU"] for r in records}
    for curve in table.curves:
        for point in curve.points:
            score = point.scores["mIoU"].estimate
            assert score.value == pytest.approx(by_run[point.runs[0]]) and score.low <= score.value <= score.high
    assert (
        table.curves[0].points[0].costs["seconds"] == pytest.approx(1 / 12.5)
        and table.curves[1].points[0].costs["memory"] == 835
    )
    assert any("b has no run with shots 20" in note for note in table.notes)
    assert any("same queries" in note for note in table.notes) and "K-shot" in table.title
    shown = {width: CURVES.write([table], "text", width, wrap=True).splitlines() for width in (80, 120, None)}
    heads = {width: next(line.split() for line in lines if line.startswith("method")) for width, lines in shown.items()}
    assert heads[80] == ["method", "K", "mIoU", "accuracy", "s/episode", "MiB"], "what is tested comes before FB-IoU"
    assert heads[120] == heads[None] == ["method", "K", "mIoU", "FB-IoU", "accuracy", "s/episode", "MiB"]
    assert all(max(map(len, shown[width])) <= width for width in (80, 120))
    rows = list(csv.DictReader(io.StringIO(CURVES.write([table], "csv"))))
    scores = [row for row in rows if not row["minus"]]
    assert len({(row["method"], row["part"]) for row in scores}) == 5
    assert {row["metric"] for row in scores} > {"mIoU", "seconds of an episode", "peak memory in MiB"}
    CURVES.save_figure(tmp_path / "curves.svg", [table])
    axis = Figure().subplots()
    plot_panel(axis, table, "memory")
    assert axis.get_ylim()[0] == 0 and axis.get_ylim()[1] > max(
        p.costs["memory"] for c in table.curves for p in c.points
    )
    assert main(["table", *(str(record.path) for record in records), "--by", "shots", "--format", "csv"]) == 0
    assert capsys.readouterr().out == f"{CURVES.write([table], 'csv')}\n"
    assert [*panels(table)][-2:] == ["seconds", "memory"] and (tmp_path / "curves.svg").stat().st_size > 5000


def test_points_beyond_the_authors_rule_are_marked(records):
    words = "the number of shots is beyond the authors' rule, which covers 1: nobody joins more"
    found = []
    for record in records:
        beyond = record.run.identity.method.name == "a" and record.header.shot > 1
        found.append(changed(record, **({"beyond_authors_rule": words} if beyond else {})))
    (table,) = curve_tables(found, ["shots"])
    assert {(c.method, p.number) for c in table.curves for p in c.points if p.beyond} == {("a", 5), ("a", 20)}
    shown = CURVES.sheet(table)
    names, numbers, *_ = cell_texts(shown.tables[0])
    assert names == [*"aaabb"] and [number.strip() for number in numbers] == ["1", "5+", "20+", "1", "5"]
    assert f"+ a with K 5, 20: {words}" in shown.notes
    for panel in panels(table):
        axis = Figure().subplots()
        plot_panel(axis, table, panel)
        (hollow,) = (line for line in axis.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata()))
        of_method = {x for line in axis.lines if line.get_markerfacecolor() != "white" for x in line.get_xdata()}
        assert [round(x) for x in hollow.get_xdata()] == [5, 20] and set(hollow.get_xdata()) < of_method
        assert any("hollow" in words.get_text() for words in axis.get_legend().get_texts())


@pytest.mark.parametrize("entry", [{"image_size": 336}, {"support_annotation": "box"}, {"kept_support": 0.1}])
def test_runs_that_differ_in_more_than_shots_are_two_curves(records, entry):
    of_a = [record for record in records if record.run.identity.method.name == "a"]
    found = [changed(record, entry if record.header.shot == 20 else None) for record in of_a]
    (table,) = curve_tables(found)
    ((key, value),) = entry.items()
    assert {curve.method: [point.number for point in curve.points] for curve in table.curves} == {
        "a": [1, 5], f"a ({key} {value})": [20]
    }  # fmt: skip
    with pytest.raises(SettingsError, match="differ in one number alone"):
        curve_tables([record for record in found if record.header.shot > 1])


def test_points_of_the_same_queries_are_compared_in_pairs(records, table):
    by_point = {(record.run.identity.method.name, record.header.shot): record for record in records}
    assert table.headlines == ["mIoU", "accuracy"]
    for metric in table.headlines:
        of_metric = [line for line in table.differences if line.metric == metric]
        along = [(x.method, x.part, x.minus_part) for x in of_metric if is_along(x)]
        assert along == [("a", "5", "1"), ("a", "20", "5"), ("a", "20", "1"), ("b", "5", "1")]
        between = [(x.part, x.method, x.minus) for x in of_metric if not is_along(x)]
        assert between == [("1", "a", "b"), ("5", "a", "b")]
    main = [line.metric == "mIoU" for line in table.differences]
    p = np.array([line.estimate.p for line in table.differences]) / [0.8 / 6 if first else 0.2 / 6 for first in main]
    assert min(line.corrected for line in table.differences) == pytest.approx(min(p))  # Holm's first step
    for line in table.differences:  # each is that of the two runs alone
        ends = (line.method, int(line.part)), (line.minus, int(line.minus_part or line.part))
        runs = (by_point[point] for point in ends)
        first, second = ([run.protocol.statistics(run.episodes, run.header).only([line.metric])] for run in runs)
        assert line.estimate == differences_once(first, second)[line.metric]
        assert line.scores == tuple(scores_once(runs)[line.metric].value for runs in (first, second))
        assert line.estimate.value == pytest.approx(line.scores[0] - line.scores[1])
        assert line.estimate.queries == records[0].episodes["query"].n_unique()
    rows = [row for row in csv.DictReader(io.StringIO(CURVES.write([table], "csv"))) if row["minus"]]
    assert [float(row["corrected"]) for row in rows] == pytest.approx([x.corrected for x in table.differences], 1e-4)
    words = " ".join(CURVES.write([table], "text", 80, wrap=True).split())
    assert "each point minus the one before it" in words and "differences of methods at one number" in words
    assert "correction (12 comparisons)" in words


def test_points_of_other_queries_are_not_compared(records):
    moved = []
    for record in records:  # as where every number of shots draws its own queries
        assert len(record.episodes)  # the counts are read with the queries that they are of
        moved.append(changed(record))
        episodes = tuple(replace(e, query=f"{e.query}-{record.header.shot}") for e in record.manifest.episodes)
        moved[-1].__dict__["manifest"] = type(record.manifest)(record.manifest.entries, episodes)
    (table,) = curve_tables(moved, ["shots"])
    assert table.differences and not any(map(is_along, table.differences))
    assert any("have different queries" in note for note in table.notes)


@pytest.mark.slow(3)
def test_a_curve_of_classification_has_every_score_of_its_runs(tmp_path):
    for way in (2, 4):
        test = fsbench.load_test("demo-cls", root=tmp_path / "demo", way=way, episodes=3)
        answer = lambda episode: [1] * len(episode.queries)  # noqa: E731
        fsbench.evaluate(answer, test, runs=tmp_path / "runs", progress=False, name="first")
    (table,) = curve_tables(find_records(tmp_path / "runs"))
    values = {point.number: {name: row.estimate.value for name, row in point.scores.items()} for point in table.points}
    assert values == {2: {"accuracy": 50, "error": 50}, 4: {"accuracy": 25, "error": 75}}
    assert {row.fold for row in table.rows} == {"all"} and {row.part for row in table.rows} == {"2", "4"}


def test_runs_of_one_test_are_no_curve(records):
    one = [record for record in records if record.header.shot == 1]
    for axes in (AXES, *([axis] for axis in AXES)):
        with pytest.raises(SettingsError, match="differ in one number alone"):
            curve_tables(one, axes)


@pytest.mark.parametrize(
    ("entry", "values", "numbers"),
    [("image_size", (224, 64, 128), (64, 128, 224)), ("kept_support", (0.25, None, 0.5), (25, 50, 100))],
)
def test_runs_on_the_same_episodes_are_a_curve_by_a_setting_of_theirs(entry, values, numbers, tmp_path):
    """Method b lacks the number in the middle, the last of `values`."""
    drawn = write_study(tmp_path, {"a": 0.5, "b": 0.4}, folds=2, classes=4, episodes=12)
    found = [
        changed(record, {entry: value} if value else None, id=f"{record.path.name}-{value}")
        for value in values
        for record in drawn
        if record.run.identity.method.name == "a" or value != values[-1]
    ]
    (table,) = curve_tables(found)
    assert table.axis == {"image_size": "side", "kept_support": "kept"}[entry] and table.numbers == [*numbers]
    points = {curve.method: tuple(point.number for point in curve.points) for curve in table.curves}
    assert points == {"a": numbers, "b": numbers[::2]}
    assert all(len(point.runs) == 2 for curve in table.curves for point in curve.points)
    assert any("same episodes" in note for note in table.notes)
    alone = [record for record in found if record.run.identity.method.name == "b"][:2]
    with pytest.raises(SettingsError, match="one number alone"):
        curve_tables(alone)


@pytest.mark.slow(1)
def test_the_command_reads_runs_from_their_folders_and_names_those_it_cannot(tmp_path, capsys):
    runs, figure, own = tmp_path / "runs", tmp_path / "curves.png", tmp_path / "own.png"
    scores = {}
    for side in (224, 448):
        (record,) = write_study(runs / str(side), {"a": side / 800}, folds=1, classes=4, episodes=12)
        identity = record.run.identity.as_json() | {"image_size": side}
        run = record.run.as_json() | {"id": f"{record.path.name}-{side}", "identity": identity}
        record = written(record.path, record.episodes, **run)
        scores[side] = record.protocol.statistics(record.episodes, record.header).scores()["mIoU"]
    broken = runs / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    assert main(["table", str(runs), "--by", "side", "--plot", str(figure), "--format", "csv"]) == 1
    said = capsys.readouterr()
    rows = [row for row in csv.DictReader(io.StringIO(said.out)) if row["metric"] == "mIoU" and not row["minus"]]
    assert {int(row["part"]): float(row["value"]) for row in rows} == pytest.approx(scores, abs=1e-4)
    assert all(row["part_kind"] == "side" and float(row["low"]) <= float(row["value"]) for row in rows)
    assert "broken" in said.err and figure.stat().st_size > 5000
    own.write_bytes(b"a photo")
    for arguments, message in (
        ([runs / "448"], "no two tests of these runs differ in one number alone (side)"),
        ([runs / "nowhere"], "nowhere"),
        ([runs, "--plot", own], "cannot be read as a figure of fsbench"),
        ([runs, "--plot", tmp_path / "curves.txt"], "expected a name that ends in .png"),
    ):
        assert main(["table", "--by", "side", *map(str, arguments)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert own.read_bytes() == b"a photo"


@pytest.mark.slow(20)
def test_the_report_has_a_page_of_curves_with_the_figures_of_the_command(tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "report"
    for side in (224, 448):
        for record in write_study(runs / str(side), {"a": 0.5, "b": 0.4}, folds=1, classes=4, episodes=12):
            identity = record.run.identity.as_json() | {"image_size": side}
            run = record.run.as_json() | {"id": f"{record.path.name}-{side}", "identity": identity}
            written(record.path, record.episodes, **run)
    assert found_tables(find_records(runs / "224")) == []  # and no page then
    assert main(["report", str(runs), "--out", str(out), "--no-photos"]) == 0
    capsys.readouterr()
    assert main(["table", str(runs), "--by", "side", "--format", "csv"]) == 0
    assert (out / "curves.csv").read_text().strip() == capsys.readouterr().out.strip()
    page = (out / "curves.html").read_text()
    assert "side of images in pixels" in page and page.count("<svg") == 4 and 'href="curves.html"' in page
    assert {path.name for path in out.glob("curve-1-*.svg")} == {
        f"curve-1-{name}.svg" for name in ("mIoU", "accuracy", "seconds", "memory")
    }


def test_scores_by_the_number_of_objects_are_those_of_the_pairs_that_show_so_many(tmp_path):
    records = write_study(tmp_path, {"a": 0.5, "b": 0.4}, folds=2, classes=4, episodes=30)

    def objects(record):
        rows = record.episodes.filter(record.episodes["slot"] > 0)
        return {(episode, slot): 1 + episode % 7 for episode, slot in rows.select("episode", "slot").iter_rows()}

    (table,) = object_tables(records, objects)
    assert [(x.method, x.minus, x.minus_part) for x in table.differences] == [("a", "b", "")] * 5
    assert [line.part for line in table.differences] == ["1", "2", "3", "4", "5"]
    scores = {curve.method: [point.scores["mIoU"].estimate.value for point in curve.points] for curve in table.curves}
    expected = np.subtract(scores["a"], scores["b"])
    assert [line.estimate.value for line in table.differences] == pytest.approx(expected)
    fewer = [run for run in records if run.run.identity.method.name == "a" or run.header.fold == 0]
    (other,) = object_tables(fewer, objects)
    held = [note for note in other.notes if note.startswith("(episode, way) pairs of ")]
    for label, note in zip("ab", held, strict=True):  # of each method its own
        shown = pl.concat([r.episodes for r in fewer if r.run.identity.method.name == label])
        shown = shown.filter((pl.col("slot") > 0) & pl.col("present") & (pl.col("episode") % 7 == 0))
        assert note.startswith(f"(episode, way) pairs of {label} by number: 1: {len(shown)}, ")
    assert table.axis == "objects" and table.numbers == [1, 2, 3, 4, 5] and [*panels(table)] == ["mIoU"]
    for curve in table.curves:
        runs = [record for record in records if record.run.identity.method.name == curve.method]
        for point in curve.points:
            scores = []
            for run in runs:
                number = (1 + run.episodes["episode"] % 7).clip(upper_bound=5)
                shown = (run.episodes["slot"] > 0) & run.episodes["present"] & (number == point.number)
                kept = run.episodes.filter(shown)
                sums = kept.group_by("class_id").agg(pl.col("tp", "pred", "gt", "pred_void").sum())
                extra = sums["pred_void"] * (run.protocol.counting.void == "background")
                union = sums["pred"] + sums["gt"] - sums["tp"] + extra
                scores.append(100 * (sums["tp"] / union).mean())
            found = point.scores["mIoU"].estimate
            assert found.value == pytest.approx(np.mean(scores))
            images = {name for run in runs for name in _shown(run, point.number)["query"]}
            assert found.queries == len(images)
            assert found.has_interval == (len(images) >= 10)  # three photos have none
    assert "MiB" not in CURVES.write([table], "text", 120)
    with pytest.raises(SettingsError, match="no query"):
        object_tables(records, lambda record: dict.fromkeys(objects(record), 0))


def _shown(run, number):
    """The rows of a run whose query shows so many made-up objects."""
    objects = (1 + run.episodes["episode"] % 7).clip(upper_bound=5)
    return run.episodes.filter((run.episodes["slot"] > 0) & run.episodes["present"] & (objects == number))


def test_objects_are_regions_of_one_percent_of_the_class():
    mask = np.zeros((60, 60), bool)
    assert count_objects(mask) == 0
    mask[5:25, 5:25] = mask[25:30, 25:30] = True  # joined at a corner
    assert count_objects(mask) == 1
    mask[40:50, 40:50] = mask[2, 50:54] = True  # 4 of 529 pixels are a speck
    assert count_objects(mask) == 2
    mask[2, 50:58] = True
    assert count_objects(mask) == 3
