"""`Result` and `load_runs`: the numbers of the command line, in a notebook."""

import csv
import io
import json

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import RecordError, SettingsError
from fsbench.cli.main import main
from fsbench.runner.evaluation.result import Result
from fsbench.scores.count_table import SUPPORTS


@pytest.fixture
def pair(make):
    """Runs of two methods on one fold."""
    return make("first", 0, keep="masks"), make("second", 0, quality=3, wrong=5, keep="masks")


def printed(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def command_scores(capsys, folder) -> dict[tuple[str, str, str], list[str]]:
    """(method, part, metric) -> value, low and high as `fsbench table --format csv` writes them."""
    lines = csv.DictReader(io.StringIO(printed(capsys, "table", folder, "--by", "class", "--format", "csv")))
    return {(one["method"], one["part"], one["metric"]): [one["value"], one["low"], one["high"]] for one in lines}


def written(row: dict, metric: str) -> list[str]:
    return ["" if row[metric + end] is None else f"{row[metric + end]:.4f}" for end in ("", " low", " high")]


def test_results_and_tables_have_the_numbers_of_the_command(pair, capsys):
    folder = pair[0].path.parent
    expected = command_scores(capsys, folder)
    for record in pair:
        result = Result(record)
        for metric in ("mIoU", "FB-IoU", "accuracy"):
            found = result.interval(metric)
            ends = [f"{end:.4f}".replace("nan", "") for end in (found.value, found.low, found.high)]
            assert ends == expected[result.name, "all", metric]
            assert found.value == pytest.approx(result.scores[metric])
        for part, column in (("class", "class"), ("size", "object size")):
            rows = [row for row in result.by(part).to_dicts() if row["mIoU"] is not None]
            assert rows and rows[0].keys() >= {column, "episodes", "pairs", "mIoU", "mIoU low", "mIoU high"}
            assert all(written(row, "mIoU") == expected[result.name, row[column], "mIoU"] for row in rows)
        assert result.frame.equals(record.episodes.drop(SUPPORTS)) and result.path == record.path
        assert f"mIoU {result.scores['mIoU']:.2f}" in repr(result) and str(record.path) in repr(result)
    assert result.interval("ROM").value == result.scores["ROM"]

    runs = fsbench.load_runs(folder)
    assert [result.name for result in runs] == ["first", "second"] and len(runs) == 2
    table = runs.table()
    rows = {row["method"]: row for row in table.frame.to_dicts()}
    for method in ("first", "second", "(all background)"):
        assert written(rows[method], "FB-IoU") == expected[method, "all", "FB-IoU"]
    assert rows["first"]["run"] == pair[0].path.name and rows["(all background)"]["run"] == ""
    assert set(runs.table(trivial=False).frame["method"]) == {"first", "second"}
    by_class = runs.table("mIoU", by="class").frame
    for row in by_class.drop_nulls("mIoU").to_dicts():
        assert written(row, "mIoU") == expected[row["method"], row["class"], "mIoU"]
    assert "FB-IoU" not in by_class.columns and json.loads(table.write("json"))[0]["rows"]
    assert set(table.text.splitlines()) & set(printed(capsys, "table", folder).splitlines())


def test_a_comparison_is_that_of_the_command(pair, make, capsys):
    folder = pair[0].path.parent
    (told,) = json.loads(printed(capsys, "compare", folder, "--format", "json"))
    make("third", 0, quality=2)
    runs = fsbench.load_runs(folder)
    found = runs.compare("first", "second")
    lines = [line for of_metric in told["tables"]["all"].values() for line in of_metric]
    for name in ("p", "low"):
        assert found.frame[name].to_list() == [line["difference"]["difference"][name] for line in lines]
    assert found.frame["corrected"].to_list() == [line["corrected"] for line in lines]
    assert len(runs.compare(metrics="mIoU").frame) == 3
    assert "first − second" in found.text and "<table>" in found._repr_html_()


def test_a_notebook_shows_tables_and_names_as_they_are(make):
    record = make("<b>m", 0)
    runs = fsbench.load_runs(record.path, make("second", 0).path)
    shown = runs._repr_html_()
    assert runs.table()._repr_html_() in shown and "2 runs of &lt;b&gt;m, second" in shown
    for html in (Result(record)._repr_html_(), shown):
        assert "<b>m" not in html and "&lt;b&gt;m" in html


def test_a_run_by_its_name(pair, make):
    runs = fsbench.load_runs(pair[0].path, pair[1].path, pair[0].path.parent)
    assert len(runs) == 2
    assert runs["second"].record.run.id == pair[1].run.id == runs[pair[1].run.id].record.run.id
    with pytest.raises(SettingsError, match="there is no run of secnd; did you mean 'second'"):
        runs["secnd"]
    make("second", 1)
    with pytest.raises(SettingsError, match="there are 2 runs of second; expected the name of one: second-"):
        fsbench.load_runs(pair[0].path.parent)["second"]


def test_the_worst_episodes_in_a_picture(pair, blocks_folder):
    _, second = pair
    test = fsbench.load_test("folder", root=blocks_folder, manifest=second.path / "manifest.jsonl")
    picture = Result(second, test).show(worst=3)
    assert picture.height < Result(second, test).show(worst=4).height
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 100
    with pytest.raises(RecordError, match=r"are not at hand; expected its test: \.show\(test=fsbench.load_test"):
        Result(second).show()
    found = fsbench.load_runs(second.path)["second"].show(worst=3, test=test)
    assert np.array_equal(np.asarray(found), np.asarray(picture))
    other = fsbench.load_test("folder", root=blocks_folder, episodes=3)
    for show in (lambda: Result(second, test).show(test=other), Result(second, other).show):
        with pytest.raises(RecordError, match="other episodes than the test's"):
            show()


def test_what_does_not_fit_is_said_in_a_line(pair, make, tmp_path):
    result, runs = Result(pair[0]), fsbench.load_runs(pair[0].path.parent)
    for ask, said in (
        (lambda: result.interval("mIuo"), "unknown metric 'mIuo'"),
        (lambda: result.interval("miou"), "did you mean 'mIoU'"),
        (lambda: result.interval("AUROC"), "has no score 'AUROC'; there are: mIoU"),
        (lambda: result.by("fold"), "expected class or size"),
        (lambda: result.show(0), "worst is 0"),
        (lambda: runs.table("mIuo"), "unknown metric 'mIuo'"),
        (lambda: runs.table(by="clas"), "unknown breakdown 'clas'; did you mean 'class'? There are: fold, size, class"),
        (lambda: runs.compare(by=["fold", "cost"]), "unknown breakdown 'cost'; there are: fold, size, presence, class"),
        (lambda: runs.compare("first"), "one method; expected two or more"),
        (lambda: runs.compare("first", "secnd"), "did you mean 'second'"),
        (lambda: runs.compare(effect=0), "effect is 0, expected a number of points above 0"),
        (lambda: fsbench.load_runs(tmp_path / "absent"), "is no folder"),
    ):
        with pytest.raises((SettingsError, RecordError)) as error:
            ask()
        assert said in str(error.value) and "\n" not in str(error.value)
        assert "--" not in str(error.value) and "make " not in str(error.value)  # words of the command line


def test_damaged_runs_are_left_out_and_named(pair):
    (pair[0].path / "run.json").write_text("{")
    runs = fsbench.load_runs(pair[0].path.parent)
    assert [result.name for result in runs] == ["second"] and len(runs.left_out) == 1
    assert str(pair[0].path) in runs.left_out[0] and "1 left out" in repr(runs)


def test_the_report(pair, tmp_path):
    page = fsbench.load_runs(pair[0].path.parent).report(tmp_path / "pages", photos=False, gallery=3)
    assert page == tmp_path / "pages" / "index.html" and "first" in page.read_text()
    made_by = json.loads((tmp_path / "pages" / "fsbench-report.json").read_text())["made by"]
    assert made_by.startswith("fsbench report ") and made_by.endswith("--gallery 3 --no-photos")
