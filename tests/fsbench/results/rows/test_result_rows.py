"""Results as rows: what tables and comparisons show are rows of one frame, which a notebook gets."""

import shutil
from math import isnan
from pathlib import Path

import polars as pl
import pytest

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.protocols.reading import load_protocol
from fsbench.records.grouping import fold_of
from fsbench.records.record import read_record
from fsbench.results.comparison.compare import Comparing, compare_tests
from fsbench.results.comparison.layout import to_sheet as comparison_sheet
from fsbench.results.rows.comparable import compared_tests
from fsbench.results.rows.row import (
    ALL,
    CLASS,
    COLUMNS,
    FOLD,
    SHOTS,
    SIZE,
    ResultRow,
    rows_frame,
    scores_of,
)
from fsbench.results.rows.scoring import correct
from fsbench.results.rows.wide import wide_frame
from fsbench.results.rules.rescore import Choices, rescore
from fsbench.results.sheets.fitting import cell_texts, fit
from fsbench.results.tables.breakdowns import to_sheet
from fsbench.results.tables.table import build_blocks
from fsbench.scores.decisions import adjust
from fsbench.scores.estimate import Estimate
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.results.scored import grid_of
from tests.fsbench.runs import rewrite


@pytest.fixture(scope="module")
def records(shared_make):
    """Runs of two methods, one of them on one fold only, which no test changes."""
    return [shared_make(*of, wrong=3) for of in (("good", 0, 1), ("good", 1, 1), ("bad", 0, 2))]


@pytest.fixture(scope="module")
def runs(records):
    return fsbench.load_runs(*(record.path for record in records))


def test_the_columns_are_those_that_are_documented(runs):
    frame = runs.results(by="size,class", minus="all", trivial=True)
    assert frame.columns == list(COLUMNS)
    assert set(frame["part_kind"]) == {ALL, FOLD, SIZE, CLASS}
    assert frame.schema["pairs"] == pl.Int64 and frame.schema["low"] == pl.Float64


def test_a_fold_is_a_part_where_there_is_a_mean(runs):
    scores = runs.results("mIoU").select("method", "fold", "part_kind", "part").rows()
    assert scores == [
        ("good", "0", FOLD, "0"), ("good", "1", FOLD, "1"), ("good", "mean", ALL, ALL), ("bad", "0", ALL, ALL),
    ]  # fmt: skip


def test_every_score_follows_from_the_counts(records, runs):
    frame = runs.results("mIoU,accuracy")
    for record in records:
        expected = record.protocol.statistics(record.episodes, record.header).scores()
        own = frame.filter(run=record.path.name)
        assert set(own["fold"]) == {str(fold_of(record))}
        for metric in ("mIoU", "accuracy"):
            assert own.filter(metric=metric)["value"].to_list() == [expected[metric]]
        assert set(own["pairs"]) == {(record.episodes["slot"] > 0).sum()}
        assert set(own["episodes"]) == {record.episodes["episode"].n_unique()}


def test_what_the_query_shows_is_a_part(records, runs):
    """The pairs whose query shows the way, and the others, by hand; the latter stand once, though sizes have them."""
    frame = runs.results("accuracy", by="presence,size", minus="all").filter(part_kind="presence")
    scores = {(row["run"], row["part"]): row for row in frame.filter(minus="").iter_rows(named=True)}
    for record in records:
        for part, present in (("shown in the query", True), ("absent", False)):
            pairs = record.episodes.filter((pl.col("slot") > 0) & (pl.col("present") == present))
            row = scores[record.path.name, part]
            right = (pairs["decided"] == pairs["present"]).mean()
            assert row["pairs"] == len(pairs) and row["value"] == pytest.approx(100 * right)
    assert set(frame.filter(pl.col("minus") != "")["part"]) == {"shown in the query", "absent"}


@pytest.fixture(scope="module")
def block(records):
    """Their table, with all its parts."""
    (found,) = build_blocks(records, by=("size", "class"), trivial=True)
    return found


def figures(grids):
    """The numbers that stand in grids of words, without their marks."""
    words = (
        word.strip("[],!*°()") for grid in grids for line in grid[1:] for cell in line[1:] for word in cell.split()
    )
    return [word for word in words if word.lstrip("+-").replace(".", "", 1).isdigit() and "." in word]


def test_every_figure_of_a_table_is_a_row(block):
    """A figure of the table and the ends of its interval are rounded cells of the frame."""
    frame = rows_frame(block.rows)
    values = {f"{value:.2f}" for name in ("value", "low", "high") for value in frame[name].drop_nulls()}
    keys = ["method", "metric", "part"]  # answers without a model have rows of single folds, which are averaged
    of_folds = frame.with_columns(part=pl.when(part_kind=FOLD).then(pl.lit(ALL)).otherwise("part")).group_by(keys)
    means = {f"{value:.2f}" for value in of_folds.agg(pl.col("value").mean())["value"].drop_nulls()}
    grids = [
        grid
        for by in ((), ("size",), ("fold",), ("class",))
        for table in to_sheet(block, by).tables
        for grid in [grid_of(table)]
    ]
    shown = figures(grids)
    assert len(shown) > 60 and not [word for word in shown if word not in values | means]


def test_every_figure_of_a_comparison_is_a_row(records):
    tests = compared_tests([record.path for record in records])
    (found,) = compare_tests(tests, Comparing(("mIoU",), by=("size", "class")))
    frame = rows_frame(found.rows)
    numbers = {f"{value:+.2f}" for name in ("value", "low", "high") for value in frame[name].drop_nulls()}
    ends = {f"{one:.2f}" for row in found.rows for one in row.scores}
    p = {f"{value:.3f}" for value in frame["corrected"].drop_nulls()}
    tables = fit(comparison_sheet(found), None).sheet.tables
    shown = figures([(), *zip(*cell_texts(table), strict=True)] for table in tables)
    assert len(shown) > 20 and not [word for word in shown if word not in numbers | ends | p]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Runs of two methods with 1 and 5 shots of the same queries, and of the first with boxes, too."""
    found, folder = {}, tmp_path_factory.mktemp("settings")
    for name, qualities, entries, identity in (
        ("1", {"a": 0.5, "b": 0.4}, {"shot": 1, "nested_in": 5}, {}),
        ("5", {"a": 0.6, "b": 0.7}, {"shot": 5, "nested_in": 5}, {}),
        ("box", {"a": 0.3}, {"shot": 1, "nested_in": 5}, {"support_annotation": "box"}),
    ):
        drawn = write_study(folder / name, qualities, folds=1, classes=4, episodes=30, **entries)
        found[name] = [rewrite(record, identity) for record in drawn]
    return found


@pytest.fixture(scope="module")
def by_shots(settings):
    """The runs of masks, and their scores and differences along the number of shots."""
    runs = fsbench.load_runs(*(record.path for record in settings["1"] + settings["5"]))
    return runs, runs.results("mIoU", by="shots", minus="all")


def test_a_difference_along_a_setting_names_both_its_ends(by_shots):
    found, frame = by_shots
    assert frame.filter(minus="").select("method", "part").rows() == [("b", "1"), ("b", "5"), ("a", "1"), ("a", "5")]
    compared = frame.filter(pl.col("minus") != "")
    assert compared.select("method", "part", "minus").rows() == [
        ("b", "5", "b (shots 1)"), ("a", "5", "a (shots 1)"), ("b", "1", "a"), ("b", "5", "a"),
    ]  # fmt: skip
    values = dict(zip(frame.select("method", "part", "minus").rows(), frame["value"], strict=True))
    assert values["b", "5", "b (shots 1)"] == pytest.approx(values["b", "5", ""] - values["b", "1", ""])
    to_a = found.results("mIoU", by="shots", minus="a")
    assert to_a.filter(pl.col("minus") != "").select("method", "part").rows() == [("a", "5"), ("b", "1"), ("b", "5")]
    assert found.results("mIoU", by="shots").equals(frame.filter(minus=""))
    with pytest.raises(SettingsError, match="no method 'c' to compare with"):
        found.results(by="shots", minus="c")
    with pytest.raises(SettingsError, match="by is shots, size, which do not go together"):
        found.results(by="shots,size")


def test_differences_along_a_setting_are_those_that_are_asked_for(by_shots):
    """Those to the best method have its sign, any score is compared, and the family is the request."""
    found, frame = by_shots
    every = frame.filter(pl.col("minus") != "")
    to_b = found.results("mIoU", by="shots", minus="b").filter(pl.col("minus") != "")
    assert to_b.select("method", "part", "minus").rows() == [
        ("b", "5", "b (shots 1)"),
        ("a", "1", "b"),
        ("a", "5", "b"),
    ]
    turned = dict(zip(every.select("method", "part", "minus").rows(), every["value"], strict=True))
    assert to_b["value"][1] == -turned["b", "1", "a"] and to_b["value"][2] == -turned["b", "5", "a"]
    for frame in (every, to_b):
        assert frame["corrected"].to_list() == adjust(frame["p"].to_list(), [True] * len(frame))
    other = found.results("FB-IoU", by="shots", minus="all")
    assert set(other["metric"]) == {"FB-IoU"} and len(other.filter(pl.col("minus") != "")) == len(every)


def test_a_damaged_run_is_left_out_of_a_setting(settings, tmp_path):
    good = settings["1"] + settings["5"]
    copies = [Path(shutil.copytree(one.path, tmp_path / f"{n}-{one.path.name}")) for n, one in enumerate(good)]
    (copies[0] / "episodes.parquet").write_bytes(b"PAR1")
    found = fsbench.load_runs(tmp_path)
    frame = found.results("mIoU", by="shots")
    assert set(frame["method"]) == {"a", "b"} and len(frame) == 3
    assert any(copies[0].name in message for message in found.left_out)


def test_two_tests_of_the_same_words_have_two_names(settings, tmp_path):
    """Other images under the same title: rows of one are told from those of the other, and no curve has both."""
    own = settings["1"] + settings["box"]
    others = []
    for number, record in enumerate(own):
        copy = shutil.copytree(record.path, tmp_path / f"{number}-{record.path.name}")
        others.append(rewrite(read_record(copy), {"files_sha256": "0" * 64}))
    frame = fsbench.load_runs(*(record.path for record in [*own, *others])).results("mIoU", by="annotation")
    assert frame["test"].n_unique() == 2 and all(" of 2" in name for name in frame["test"])
    assert len(frame.unique(["test", "method", "part"])) == len(frame) == 4
    groups = rescore([*settings["1"], *others[:2]], load_protocol("pfenet"), Choices(), lambda *_: None)
    assert len({row.test for group in groups for row in group.rows}) == 2
    both = fsbench.load_runs(*(one.path for one in [*settings["1"], *settings["5"], *others[:2]]))
    with pytest.raises(SettingsError, match="If two tests have the same number but other images"):
        both.results("mIoU", by="shots")


def test_differences_are_those_of_a_comparison(records, runs):
    frame = runs.results("mIoU,accuracy", minus="all").filter(pl.col("minus") != "")
    assert frame.equals(runs.compare(metrics="mIoU,accuracy").frame)
    assert frame.select("method", "minus").unique().rows() == [("good", "bad")] and set(frame["fold"]) == {"0"}
    to_good = runs.results("mIoU", minus="good").filter(pl.col("minus") != "")
    assert to_good["method"].to_list() == ["bad"]
    assert to_good["value"].to_list() == pytest.approx([-frame.filter(metric="mIoU")["value"].item()])


def test_all_differences_of_a_request_are_corrected_at_once():
    def row(metric, p, part_kind=ALL):
        return ResultRow("t", "a", "0", metric, Estimate(1.0, p=p), "b", part_kind, scores=(2.0, 1.0))

    p = [0.01, 0.02, 0.03, float("nan")]
    rows = [row("mIoU", p[0], SHOTS), row("accuracy", p[1]), row("mIoU", p[2], SIZE), row("mIoU", p[3], SIZE)]
    found = correct(rows, "mIoU")
    assert [one.corrected for one in found[:3]] == adjust(p, [True, False, False, False])[:3]
    assert isnan(found[3].corrected) and correct(rows, {"t": "mIoU"})[:3] == found[:3]


def test_a_wide_frame_has_a_column_for_each_score(block):
    wide = wide_frame(block.rows)
    assert wide.columns[:3] == ["test", "method", "fold"] and wide.columns[-1] == "run"
    assert wide.select("method", "fold").rows()[:4] == [("good", "0"), ("good", "1"), ("good", "mean"), ("bad", "0")]
    shown = {(line["method"], line["fold"]): line["mIoU"] for line in wide.to_dicts()}
    assert {line: shown[line] for line in block.lines} == {line: of["mIoU"].value for line, of in block.lines.items()}
    by_class = wide_frame(block.rows, "class").filter(method="bad")
    parts = block.parts(CLASS)["bad", "0"]
    assert by_class["class"].to_list() == list(parts)
    assert by_class["pairs"].to_list() == [rows[0].pairs for rows in parts.values()]
    assert by_class["mIoU"].to_list() == [scores_of(rows)["mIoU"].value for rows in parts.values()]


def test_a_part_that_no_episode_shows_has_a_row_without_a_value(make):
    (block,) = build_blocks([make("m", 0, episodes=4)])
    lacking = [row for row in block.rows if not row.pairs]
    assert lacking and all(isnan(row.estimate.value) and row.part_kind == SIZE for row in lacking)
    assert rows_frame(lacking)["value"].null_count() == len(lacking)


def test_tests_of_the_same_words_have_names_that_tell_them_apart(make):
    """Else a pivot of their rows would mix them, and nobody could tell which is which."""
    runs = [rewrite(make(name, 0), {"files_sha256": copy}) for name in ("a", "b") for copy in "ef"]
    found = fsbench.load_runs(*(run.path for run in runs))
    frame = found.results("mIoU,accuracy", minus="all")
    names = frame["test"].unique(maintain_order=True).to_list()
    assert [name.rpartition(" · ")[2] for name in names] == ["table 1 of 2", "table 2 of 2"]
    table = found.table(trivial=False)
    assert len(table.frame) == 4 and set(table.frame["test"]) == set(names)
    titles = [comparison.title for comparison in found.compare().comparisons]
    assert sorted(titles) == sorted(names)


def test_no_name_gives_a_method_the_place_of_another(make):
    """A method is what its record says, whatever its name begins with, and no answer without a model."""
    told = make("m", 0, training={"max_epochs": 1})
    for name in ("m, tuned", "(majority)"):
        make(name, 0, 2)
    (block,) = build_blocks(fsbench.load_runs(told.path.parent).records, by=(), trivial=True)
    assert block.cards["m, tuned"] != block.cards["m"]
    rows = [method for method, _ in block.lines]
    assert set(rows[:3]) == {"'(majority)'", "m", "m, tuned"} and rows.count("(majority)") == 1
    assert "'(majority)'" in [line.cells[0].value for line in to_sheet(block).tables[0].lines]


def test_a_test_without_what_is_asked_is_left_out_of_a_comparison(make):
    """The other tests are compared all the same."""
    runs = [make(*of) for of in (("a", 0), ("b", 0), ("c", 0))]
    runs += [make(name, 0, episodes=10) for name in ("a", "b")]
    found = fsbench.load_runs(*(run.path for run in runs))
    (comparison,) = found.compare(baseline="c", metrics="mIoU").comparisons
    assert len(comparison.methods) == 3
    assert any(line.startswith("one test is left out: no method 'c' to compare with") for line in comparison.warnings)


def test_methods_that_folders_tell_apart_have_one_label_in_scores_and_differences(make, tmp_path):
    """Both runs are of one method with the same settings, whose weights no word can tell apart."""
    folders = []
    for number, name in enumerate(("first", "second")):
        made = make("m", 0, 1 + number, training={"checkpoint_sha256": str(number) * 64})
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        made.path.rename(folders[-1] / "run")
    frame = fsbench.load_runs(*folders).results("mIoU", minus="all")
    scores, differences = frame.filter(minus=""), frame.filter(pl.col("minus") != "")
    assert scores["method"].to_list() == ["first: m", "second: m"]
    assert differences.select("method", "minus").rows() == [("first: m", "second: m")]


def test_classification_has_no_fold_in_scores_nor_differences(classified):
    runs = [classified(name, number) for number, name in enumerate(("near", "far"))]
    found = fsbench.load_runs(*{run.path.parent for run in runs})
    assert set(found.results(by="class", minus="all", trivial=True)["fold"]) == {ALL}
    assert "fold 0" not in found.compare().text


def test_answers_without_a_model_have_a_mean_where_all_folds_are_there(records, runs):
    frame = runs.results("mIoU", trivial=True).filter(method="(all foreground)")
    assert frame.select("fold", "part_kind").rows() == [("0", FOLD), ("1", FOLD), ("mean", ALL)]
    *folds, mean = frame["value"]
    assert mean == pytest.approx(sum(folds) / 2)
    (block,) = build_blocks(records, trivial=True)
    assert ("(all foreground)", "0") in block.lines and ("(all foreground)", "mean") not in block.lines
