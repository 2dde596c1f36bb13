"""The words of a report's first screen against its comparison, and against the words of terminal and notebook."""

import re
from html import unescape

import pytest

import fsbench
from fsbench.cli.main import main
from fsbench.pages.report.collect import Study, collect
from fsbench.pages.report.matrix import comparable_methods
from fsbench.pages.report.workers import SerialExecutor
from fsbench.records.record import find_records
from fsbench.results.rows.row import ResultRow
from tests.fsbench.pages.report.studies import write_study
from tests.fsbench.runs import rewrite


def rows_of(study: Study) -> dict[frozenset[str], ResultRow]:
    """The differences of each two methods in mIoU, by the two."""
    comparison, *_ = study.compared.result()
    return {frozenset((row.method, row.minus)): row for row in comparison.rows if row.metric == "mIoU"}


def study_with(study: Study, names: set[str]) -> Study:
    """The study of some of its methods alone, compared anew."""
    records = [record for record in study.records if record.run.identity.method.name in names]
    (found,) = collect(records, ["mIoU"], SerialExecutor())
    return found


@pytest.mark.slow(2)
def test_the_first_screen_says_who_is_better_and_by_how_much(study):
    conclusions = study.conclusions
    best, *others = study.methods
    rows, words = rows_of(study), " ".join(conclusions.sentences)
    assert conclusions.sentences[0] == f"{best} has the best mIoU, {study.shown_scores[best]['mIoU'].value:.2f}."
    assert sum(not sentence.startswith("In ") for sentence in conclusions.sentences) <= 6  # and stars of further scores
    name = re.escape(best)
    even, apart = re.findall(rf"Not told apart from {name}:.*?;|(?<!, ){name} is better than.*?;", words)
    for other in others:
        difference = rows[frozenset((best, other))]
        found = difference.estimate
        low, high = (found.low, found.high) if difference.method == best else (-found.high, -found.low)
        if difference.significant:
            assert f"{other} by {abs(found.value):.1f} points ({low:+.1f} to {high:+.1f})" in apart
        else:
            assert other in even and f"({-high:+.1f} to {-low:+.1f})" in even


def test_two_methods_have_one_sentence_and_the_sizes(study):
    pair = study_with(study, {"=fair", "poor"})
    conclusions = pair.conclusions
    (row,) = rows_of(pair).values()
    (a, b), found = row.scores, row.estimate
    assert row.significant
    assert conclusions.sentences[0] == (
        f"=fair is better than poor: mIoU {a:.2f} against {b:.2f}, {a - b:.1f} points higher "
        f"(95 % interval {found.low:+.1f} to {found.high:+.1f})."
    )
    _, _, parts = pair.compared.result()
    for size in parts.between("=fair", "poor", "size", "mIoU"):
        if size.significant:
            moved = size.estimate
            assert f"{moved.value:+.1f} [{moved.low:+.1f}, {moved.high:+.1f}]" in conclusions.sentences[1]
    comparison, *_ = pair.compared.result()
    assert f"correction ({comparison.comparisons} comparisons)" in conclusions.sentences[-1]
    assert "mean over 2 folds" in conclusions.sentences[-1] and "protocol fscs v1" in conclusions.sentences[-1]


def test_one_method_has_its_score_and_no_conclusion(study):
    alone = study_with(study, {"poor"})
    score = alone.shown_scores["poor"]["mIoU"]
    assert alone.conclusions.sentences == [
        f"poor has mIoU {score.value:.2f} (95 % interval {score.low:.2f} to {score.high:.2f}).",
        "Nothing to compare: there is only one method.",
    ]


def test_runs_of_unequal_folds_are_compared_on_those_they_share(study_runs):
    records = find_records(study_runs)
    kept = [r for r in records if r.run.identity.method.name in ("=fair", "poor")]
    kept = [r for r in kept if r.run.identity.method.name != "poor" or r.header.fold == 0]
    (study,) = collect(kept, ["mIoU"], SerialExecutor())
    comparison, remark, _ = study.compared.result()
    (row,) = comparison.rows
    assert row.fold == "0" and "further folds of =fair are not counted" in remark
    assert "fold 0" in study.conclusions.sentences[-2] and study.conclusions.sentences[-1] == remark


@pytest.mark.slow(2)
def test_methods_that_share_no_fold_have_a_report(study_runs, tmp_path):
    """Together they have all folds, none of them has: no method has a mean, though answers without a model have."""
    records = find_records(study_runs)
    kept = [r for r in records if (r.run.identity.method.name, r.header.fold) in (("=fair", 0), ("poor", 1))]
    words = ["report", *(str(record.path) for record in kept), "--out", str(tmp_path / "r"), "--metrics", "mIoU"]
    assert main([*words, "--quiet"]) == 0
    page = (tmp_path / "r/index.html").read_text()
    assert "no two methods have runs of the same fold." in page and "=fair has mIoU" in page


@pytest.mark.parametrize(
    ("folds", "expected", "left_out"),
    [
        ({"a": [0, 1], "b": [0, 1], "c": [0]}, {"a": [0, 1], "b": [0, 1]}, "c"),
        ({"a": [0, 1], "b": [0], "c": [0]}, {"a": [0], "b": [0], "c": [0]}, ""),
        ({"a": [0], "b": [1]}, {}, ""),
        ({"a": [0]}, {}, ""),
    ],
)
def test_most_shared_folds_are_taken(folds, expected, left_out):
    taken, remark = comparable_methods({name: dict.fromkeys(own) for name, own in folds.items()}, None)
    assert {name: list(runs) for name, runs in taken.items()} == expected
    assert ("Left out" in remark and remark.endswith(f": {left_out}.")) == bool(left_out)


@pytest.mark.slow(2)
def test_the_first_page_has_the_conclusions_before_the_table(study_pages):
    page = (study_pages / "index.html").read_text()
    assert page.index("has the best mIoU") < page.index('<table class="front">')
    assert "3⁰, 3¹: folds 0, 1, 3 classes each." in page


@pytest.mark.slow(2)
def test_terminal_report_and_notebook_conclude_the_same(study_runs, tmp_path, capsys):
    """Of the same family of comparisons: what the report's page compares, asked of the command line and in Python."""
    metrics, parts = "mIoU,accuracy", ["fold", "size", "class", "presence"]
    assert main(["report", str(study_runs), "--out", str(tmp_path / "r"), "--metrics", metrics, "--quiet"]) == 0
    page = (tmp_path / "r/index.html").read_text()
    (part,) = re.findall('<div class="conclusions">(.*?)</div>', page, re.DOTALL)
    in_report = [unescape(words) for words in re.findall("<(?:p|li)>(.*?)</(?:p|li)>", part)]
    capsys.readouterr()
    words = [word for each in parts for word in ("--by", each)]
    assert main(["compare", str(study_runs), "--metrics", metrics, *words, "--all"]) == 0
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("like_coco · ") and lines[: lines.index("")] == in_report
    runs = fsbench.load_runs(study_runs).compare(metrics=metrics, by=parts)
    shown = unescape(runs._repr_html_())
    assert len(in_report) > 8 and all(f"<p>{sentence}</p>" in shown for sentence in in_report[:5])
    assert runs.text.splitlines()[2:7] == in_report[:5]


@pytest.mark.slow(2)
def test_marks_are_explained_beside_the_table(tmp_path):
    """In the report of two methods of which one was told boxes beside masks."""
    runs, pages = tmp_path / "runs", tmp_path / "pages"
    for record in write_study(runs, {"masks": 0.7, "boxes": 0.4}, folds=1, classes=3, episodes=20):
        if record.run.identity.method.name == "boxes":
            rewrite(record, told={"supervision": ["boxes"], "saw_test_classes": "no"})
    assert main(["report", str(runs), "--out", str(pages), "--metrics", "mIoU"]) == 0
    front, table = ((pages / name).read_text() for name in ("index.html", "study-1/index.html"))
    assert "<p>masks and boxes are not ranked together. masks got masks. boxes got boxes.</p>" in front
    (caption,) = re.findall("<caption>(.*?)</caption>", front, re.DOTALL)
    words = "† and ‡ are not ranked together. † got masks. ‡ got boxes"
    assert words in caption and words in table
