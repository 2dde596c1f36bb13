"""The report's numbers against the tables', its place on disk, and names that mean harm."""

import csv
import html
import json
import platform
import re
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from fsbench.base.files.folders import replacing_folder
from fsbench.cli.main import main
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest, read_manifest
from fsbench.pages.report.costs import RunCost, pareto_front
from fsbench.pages.report.episodes import FoldEpisodes, episode_scores, object_sizes, worth_a_look
from fsbench.pages.report.plots import adapt_to_theme, cost_plot
from fsbench.pages.report.site import MARK
from fsbench.records.machine import processor
from fsbench.records.record import find_records, read_record
from fsbench.records.writing import write_files
from fsbench.results.rows.row import CLASS, scores_of
from fsbench.results.sheets.cells import ends as ends_of
from fsbench.results.sheets.latex import latex
from fsbench.results.sheets.names import shorten
from fsbench.results.table import Cell, Column, Line, Sheet, Table
from fsbench.results.tables.render import render
from fsbench.results.tables.table import build_blocks
from fsbench.scores.classification import accuracy_statistics
from fsbench.scores.estimate import Estimate
from tests.fsbench.conftest import classification_maker, record_maker
from tests.fsbench.runs import changed, rewrite, with_digits
from tests.fsbench.scores.once import scores_once

CPU_INFO = Path("/proc/cpuinfo").is_file()
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "__proto__", "</script><b>", "{{ 7*7 }}"]


def data_file(study, name):
    """Return the content of a file that the explorer's page loads."""
    text = (study / f"explorer/{name}.js").read_text()
    found, content = json.loads(f"[{text.strip().removeprefix('fsbenchFile(').removesuffix(')')}]")
    assert found == name
    return json.loads(content)


def study_of(folder, words):
    """Return the folder of the table on whose page these words are."""
    (page,) = (page for page in folder.glob("study-*/index.html") if words in page.read_text())
    return page.parent


def spoil(folder):
    """Give a record's method, classes and images names that mean harm, with all hashes as they should be."""
    record = read_record(folder)
    old = read_manifest(folder / "manifest.jsonl")
    names = dict(zip(old.header.class_names, HOSTILE, strict=False))
    bad = HOSTILE[1]
    frame = record.every_episode.with_columns(query=pl.lit(bad) + pl.col("query"))
    episodes = tuple(replace(e, query=bad + e.query, supports=tuple((bad,) for _ in e.supports)) for e in old.episodes)
    manifest = Manifest(old.entries | {"class_names": names}, episodes)
    manifest.write(folder / "manifest.jsonl")
    method = record.run.identity.method.as_json()
    method["name"] = HOSTILE[0] + method["name"]
    run = changed(record, {"manifest_sha256": manifest.sha256, "method": method}).run
    write_files(folder, with_digits(run), frame)


@pytest.fixture(scope="module")
def report(shared_make):
    """Two methods on both folds and one on a single fold, and the report of them in the folder of the runs."""
    for method, quality in (("good", 2), ("bad", 4)):
        for fold in (0, 1):
            shared_make(method, fold, quality=quality, wrong=2 * quality)
    runs = shared_make("half", 0, quality=3).path.parent
    assert main(["report", str(runs), "--out", str(runs / "report")]) == 0
    return runs / "report"


def test_numbers_are_those_of_the_tables(report):
    """Of data that nobody published there is no page of published figures."""
    assert not (report / "atlas.html").exists() and "Published" not in (report / "index.html").read_text()
    records = find_records(report.parent)
    (block,) = build_blocks(records, by=("size", "class"), trivial=True)
    assert (report / "study-1/table.csv").read_text() == render([block], "csv")
    page = (report / "study-1/index.html").read_text()
    names = re.findall(r'<tr (?:class="[^"]*" )?data-method="([^"]*)"', page)
    answers = {method for method, _ in block.lines} - {"good", "half", "bad"}
    assert names[:4] == ["good", "bad", "half", "(best without a model)"] and set(names[4:]) == answers
    for (method, fold), scores in block.lines.items():
        line = re.search(rf'data-method="{re.escape(method)}".*?</tr>', page, re.DOTALL)[0]
        for metric, interval in scores.items():
            cell = re.search(rf'data-column="{metric}.{fold}"(.*?)</td>', line, re.DOTALL)[1]
            assert f">{interval.value:.2f}<" in cell and ends_of(interval, 2) in cell
            assert f'data-value="{interval.value}"' in cell
    with (report / "study-1/classes.csv").open() as file:
        by_class = {(row["method"], row["fold"], row["part"]): float(row["value"]) for row in csv.DictReader(file)}
    assert by_class == {
        (method, fold, name): scores_of(rows)["mIoU"].value
        for (method, fold), parts in block.parts(CLASS).items()
        for name, rows in parts.items()
    }
    runs = (report / "study-1/runs.html").read_text()
    for record in records:
        assert record.run.id in runs and record.manifest_sha256 in runs
        assert html.escape(str(record.path)) in runs
    remarks = re.findall(r'<p class="remark">(.*?)</p>', page)
    assert any("half" in remark for remark in remarks)  # has not the folds of the others
    assert "no object size has enough images for an interval" in page
    assert {"comparison.csv", "comparison.tex", "table.tex", "classes.svg"} <= {
        path.name for path in (report / "study-1").iterdir()
    }


def test_the_matrix_is_the_comparison(report):
    page = (report / "study-1/index.html").read_text()
    moved = dict(re.findall(r'title="(\w+ minus \w+): ([+-][\d.]+)', page)[:2])
    (block,) = build_blocks(find_records(report.parent))
    mean = {method: scores["mIoU"].value for (method, fold), scores in block.lines.items() if fold == "mean"}
    assert float(moved["good minus bad"]) == pytest.approx(mean["good"] - mean["bad"], abs=1e-3)
    assert float(moved["bad minus good"]) == -float(moved["good minus bad"])


def test_episodes_are_those_of_the_record(make):
    record = make("m", 0, quality=3, way=2, wrong=5)
    iou, wrong = episode_scores(record.episodes, "background")
    sizes = object_sizes(record.episodes)
    for (number,), frame in record.episodes.group_by("episode"):
        ways = [row for row in frame.to_dicts() if row["slot"] > 0]
        unions = [row["pred"] + row["pred_void"] + row["gt"] - row["tp"] for row in ways]
        each = [row["tp"] / union for row, union in zip(ways, unions, strict=True) if union > 0]
        assert wrong[number] == sum(row["present"] != row["decided"] for row in ways)
        pixels = ways[0]["valid"] + ways[0]["void"]
        assert sizes[number] == pytest.approx(sum(row["gt"] for row in ways) / pixels)
        assert iou[number] == pytest.approx(np.mean(each)) if each else np.isnan(iou[number])
    assert wrong[:5].all() and not wrong[5:].any()


def test_best_worst_and_most_disagreeing_are_chosen():
    episodes = tuple(Episode(i, "q", 1, (1,), (("s",),)) for i in range(6))
    iou = {"a": np.array([0.9, 0.5, 0.1, 0.9, np.nan, 0.6]), "b": np.array([0.9, 0.5, 0.1, 0.2, np.nan, 0.6])}
    fold = FoldEpisodes(episodes, {1: "x"}, iou, {}, np.zeros(6))
    assert worth_a_look({0: fold}, ["a", "b"], 3) == {0: [0, 2, 3]}
    assert worth_a_look({0: fold}, ["a", "b"], 0) == {0: []}


@pytest.mark.slow(7)
def test_the_lower_score_is_the_better_where_the_metric_says_so(make, tmp_path):
    for number, wrong in enumerate((12, 0, 6)):
        record = make(f"m{wrong}", 0, wrong=wrong, quality=1 + wrong // 6)
        cost = record.run.cost.as_json() | {"trainable_parameters": 100 - number}
        (record.path / "run.json").write_text(json.dumps(changed(record, cost=cost).run.as_json()))
    more = ["--metrics", "ROM", "--compare", "2"]
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r"), *more]) == 0
    page = (tmp_path / "r/study-1/index.html").read_text()
    ranked = list(dict.fromkeys(re.findall(r'<tr data-method="(m\d+)"', page)))
    (block,) = build_blocks(find_records(tmp_path), metrics=["ROM"])
    value = {method: scores["ROM"].value for (method, _), scores in block.lines.items()}
    assert ranked == sorted(value, key=value.__getitem__)
    assert re.findall(r'title="(\w+) minus (\w+):', page)[0] == tuple(ranked[:2])  # the matrix has the two best
    assert data_file(tmp_path / "r/study-1", "data")["methods"] == ranked
    cells = re.findall(r'<td class="(\w+)" title="[^"]*: ([\d.]+)[^"]*">([-+\d.]+)</td>', page)
    own = [(float(exact), float(shown)) for level, exact, shown in cells if level == "own"]
    assert own and all(exact == pytest.approx(shown, abs=0.06) for exact, shown in own)
    moved = [(level, float(shown)) for level, _, shown in cells if level != "own"]
    assert moved and all(level[0] == ("b" if shown < 0 else "w") or level == "even" for level, shown in moved)
    assert all(len(shown.partition(".")[2]) == 3 for *_, shown in cells)


def test_pareto_front_of_an_error():
    costs = [RunCost(name, Estimate(y, y, y), {"total": x}) for name, x, y in (("a", 1, 9), ("b", 2, 5), ("c", 3, 7))]
    drawn = {metric: cost_plot(costs, "total", metric, "s").count("stroke-dasharray") for metric in ("error", "mIoU")}
    assert drawn == {"error": 1, "mIoU": 1}  # a line of two steps, and a line of one point
    lines = {m: re.search(r'd="([^"]*)"[^>]*stroke-dasharray', cost_plot(costs, "total", m, "s"))[1] for m in drawn}
    assert lines["error"].count("L") == 2 and lines["mIoU"].count("L") == 0  # b beats c; nothing beats a in mIoU


def test_a_wide_range_of_costs_has_plain_numbers():
    costs = [RunCost(name, Estimate(5, 4, 6), {"total": x}) for name, x in (("a", 10.0), ("b", 90000.0))]
    drawn = cost_plot(costs, "total", "mIoU", "s")
    assert "$" not in drawn and ">100<" in drawn and ">10000<" in drawn


def test_pareto_front_by_hand():
    assert pareto_front([(1, 10), (2, 9), (2, 12), (3, 12), (3, 20), (1, 10)]) == [0, 2, 4, 5]


def test_names_are_cut_in_the_middle_and_stay_apart():
    long = "a" * 40
    assert shorten(["short", long]) == {"short": "short", long: "a" * 16 + "…" + "a" * 17}
    names = [f"{long}{middle}{long}" for middle in "xyz"]
    for some in (names, [f"{name} {end}" for name in names for end in ("one", "two")]):
        short = shorten(some)
        assert list(short) == some and len(set(short.values())) == len(some) and max(map(len, short.values())) < 70


def test_a_line_break_does_not_end_a_comment_in_latex():
    table = Table([Column("a"), Column("b")], [Line([Cell("c\nd"), Cell("e")])], "caption\rmore")
    sheet = Sheet("title\n\\input{x}", [table], notes=["note\nmore"])
    made = latex([sheet])
    assert made.splitlines()[0] == "% title \\input{x}" and r"x\}: caption more}" in made and "c d & e" in made
    assert "% note more" in made


def test_a_cpu_is_named():
    named = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text() if CPU_INFO else "")
    assert processor() == (named[1].strip() if named else platform.processor() or platform.machine())


def test_styles_become_attributes():
    svg = adapt_to_theme('<?xml?><svg><style>x</style><path style="fill: none; stroke: #010203"/></svg>')
    assert svg == '<svg><path fill="none" stroke="currentColor"/></svg>'


@pytest.mark.slow(5)
def test_only_a_report_is_replaced(make, tmp_path, capsys, monkeypatch):
    """An empty folder is taken, a report is replaced, and a link stays; nothing else is touched."""
    asked = ["report", str(make("m", 0).path), "--out"]
    place, link = tmp_path / "mine", tmp_path / "link"
    place.mkdir()
    link.symlink_to("mine")
    (place / "thesis.txt").write_text("mine")
    assert main([*asked, str(place)]) == 2
    assert "is no report" in capsys.readouterr().err and (place / "thesis.txt").read_text() == "mine"
    (place / "thesis.txt").unlink()
    with replacing_folder(place, MARK, "report") as new:
        (new / MARK).write_text("old")
    assert main([*asked, str(link)]) == 0
    assert link.is_symlink() and (place / MARK).read_text() != "old"
    (place / "pictures").mkdir(exist_ok=True)
    (place / "pictures/thesis.txt").write_text("mine")
    assert main([*asked, str(place)]) == 2
    assert "holds 'pictures/thesis.txt', which fsbench is not known to have written" in capsys.readouterr().err
    assert (place / "pictures/thesis.txt").read_text() == "mine"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([*asked, "."]) == 2
    assert "is the working folder" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_old_report_is_put_back_where_the_new_one_cannot_be(tmp_path, monkeypatch):
    out, rename = tmp_path / "report", Path.rename
    out.mkdir()
    (out / MARK).write_text("old")

    def fail(path, target):
        if path.parent.name == "new":
            raise PermissionError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(PermissionError), replacing_folder(out, MARK, "report"):
        pass
    assert (out / MARK).read_text() == "old" and list(tmp_path.iterdir()) == [out]


@pytest.fixture(scope="module")
def odd(blocks_folder, tmp_path_factory):
    """A report of runs that are damaged, of classification, with names that look like formulas and with hostile ones;
    of the others one lacks the mean over folds. `folder`, `errors` that were said, and some of the records."""
    runs = tmp_path_factory.mktemp("odd")
    make, classified = record_maker(blocks_folder, runs), classification_maker(runs)
    for method, fold in (("good", 0), ("good", 1), ("half", 0)):
        make(method, fold)
    (make("broken", 0).path / "episodes.parquet").write_bytes(b"nothing")
    (make("strange", 0).path / "run.json").write_text("{")
    old = rewrite(make("old", 1), header={"protocol": "other"})
    for number in range(2):
        spoil(make(f"m{number}", 0, quality=1 + number, episodes=20).path)
    make("=1+1", 0, way=2)
    make("@SUM(A1)", 0, quality=3, way=2)
    named = [classified("near", 0), classified("far", 1)]
    with redirect_stderr(StringIO()) as said:
        assert main(["report", str(runs), "--out", str(runs / "r"), "--metrics", "mIoU,accuracy"]) == 1
    return SimpleNamespace(folder=runs / "r", errors=said.getvalue(), old=old, named=named)


@pytest.mark.slow(3)
def test_damaged_records_are_said_and_left_out(odd):
    assert f"left out: {odd.old.path}: unknown protocol 'other'" in odd.errors and odd.errors.count("left out") == 3
    page = (odd.folder / "index.html").read_text()
    assert "broken-" in page and "strange-" in page and 'role="alert"' in page
    study = (study_of(odd.folder, 'data-method="half"') / "index.html").read_text()
    assert "No plots: only good has mIoU. The figures are in the table below." in study
    assert main(["report", str(odd.folder / "nothing"), "--out", str(odd.folder.parent / "r2")]) == 2


@pytest.mark.slow(3)
def test_classification_is_reported(odd):
    page = (study_of(odd.folder, "· classification ·") / "index.html").read_text()
    assert re.findall(r'<tr data-method="(\w+)"', page)[:2] == ["near", "far"]
    for record in odd.named:
        interval = scores_once([accuracy_statistics(read_record(record.path).episodes)])["accuracy"]
        assert f">{interval.value:.2f}<" in page and ends_of(interval, 2) in page
        assert str(record.path) in page
    assert re.findall(r'data-method="([^"]*)"', page) == ["near", "far", "(chance)"]
    assert re.findall(r"<sup>(.*?)</sup>", page) == [] and "resamples" not in page
    moved = float(re.search('title="near minus far: ([+-][0-9.]+)', page)[1])
    assert moved == pytest.approx(100 / 3, abs=1e-3)  # one of three queries a class is named wrongly
    assert 'id="sizes"' not in page and 'href="explorer.html' not in page


@pytest.mark.slow(3)
def test_names_that_look_like_formulas_stay_words_in_csv(odd):
    for name in ("table.csv", "episodes.csv", "classes.csv", "comparison.csv"):
        lines = csv.reader((study_of(odd.folder, "=1+1") / name).open())
        cells = [cell for line in lines for cell in line]
        assert "'=1+1" in cells and "'@SUM(A1)'" in cells and not {"=1+1", "@SUM(A1)"} & set(cells)
        assert not any(cell.startswith("'") for cell in cells if cell.lstrip("'")[:1] in "+-")  # numbers stay numbers


@pytest.mark.slow(3)
def test_hostile_names_stay_text(odd):
    for page in odd.folder.rglob("*.html"):
        text = page.read_text()
        assert "<img src=x" not in text and "alert(1)</script" not in text and "</script><b>" not in text
    # as many as the templates write: three of every page, the explorer's own, and two more of a study with two of data
    study = study_of(odd.folder, "alert(1)")
    scripts = {page.name: page.read_text().count("<script") for page in study.glob("*.html")}
    assert scripts == {"runs.html": 3, "explorer.html": 4, "index.html": 7}
    assert (odd.folder / "index.html").read_text().count("<script") == 3
    assert set(HOSTILE) & set(data_file(study, "data")["classes"].values())


def test_the_first_page_has_every_fold_and_says_what_is_a_trial(report):
    page = (report / "index.html").read_text()
    (block,) = build_blocks(find_records(report.parent))
    assert {fold for _, fold in block.lines} == {"0", "1", "mean"}
    means = []
    for (method, fold), scores in block.lines.items():
        line = re.search(rf'<tr><th scope="row" title="{method}">.*?</tr>', page, re.DOTALL)[0]
        assert f"{scores['mIoU'].value:.2f}" in line
        if fold == "mean":
            assert ends_of(scores["mIoU"], 2) in line
            means.append(scores["mIoU"])
    ticks = [float(tick) for tick in re.findall(r"<span>([^<]*)", re.search(r'class="ticks".*?</th>', page)[0])]
    ends = [end for score in means for end in (score.low, score.high)]
    assert ticks[0] <= min(ends) < ticks[1] and ticks[-2] < max(ends) <= ticks[-1]
    for name in ("index.html", "study-1/index.html", "study-1/explorer.html", "study-1/runs.html"):
        said = (report / name).read_text()
        assert '<p class="remark">a trial, not a result: 24 episodes, and the protocol has 1000</p>' in said
