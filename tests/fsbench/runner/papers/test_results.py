"""Verdicts on the rows of papers: figures at the ends of the interval, beyond them, and runs made in another way."""

from dataclasses import replace

import pytest

from fsbench.cli.main import main
from fsbench.runner.papers.files import paper_rows, read_paper
from fsbench.runner.papers.results import numbered, published_scores, results_table, row_results, row_scores
from tests.fsbench.official_runs import EMAT


@pytest.fixture(scope="module")
def row():
    rows = paper_rows("emat", read_paper("emat"))
    return next(r for r in rows if (r.method, r.dataset, r.setting) == ("emat", "pascal", "original"))


@pytest.fixture(scope="module")
def figure(row):
    return next(figure for figure in row_scores(row, published_scores()) if figure.metric == "mIoU")


def test_verdicts_are_those_of_tables(official, row, figure):
    """All images are alike there, so that the mIoU has no error; `test_match.py` has the verdicts of others."""
    records = [official(EMAT, "dinov2_vits14", fold) for fold in range(4)]
    (result,) = row_results({row: records}, [figure])
    measured = result.comparison.measured
    assert measured.value == pytest.approx(70.0) and (result.verdict, result.why) == ("no interval", "")
    assert result.comparison.fold == "mean"
    caveat = "TF32 off here; whether the authors' GPUs had it is not known"
    notes = []
    assert results_table([result], notes, "").lines[0].cells[-1].value == "no interval [1]" and numbered(notes) == [
        f"[1] {caveat}"
    ]
    stated = replace(figure, made_with=replace(figure.made_with, tf32=False))
    (result,) = row_results({row: records}, [stated])
    assert _verdict(result, []) == "no interval"


def _verdict(result, notes):
    return results_table([result], notes, "").lines[0].cells[-1].value


def test_a_run_made_in_another_way_is_not_comparable_and_says_why(official, row, figure):
    records = [official(EMAT, "dinov2_vits14", fold, identity={"image_size": 400}) for fold in range(4)]
    (result,) = row_results({row: records}, [replace(figure, value=70.0)])
    assert result.verdict == "not comparable" and "image size 400 instead of 700" in result.why


def test_there_is_no_mean_of_some_folds(official, row, figure):
    assert row_results({row: [official(EMAT, "dinov2_vits14", fold) for fold in range(3)]}, [figure]) == []


@pytest.mark.slow(2)
def test_the_report_has_a_page_of_the_papers_whose_rows_are_there(official, tmp_path):
    for fold in range(4):
        official(EMAT, "dinov2_vits14", fold)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/papers.html").read_text()
    assert "EMAT (2025), table 1: classification and segmentation, 2-way 1-shot" in page
    assert page.count("<tr>") == 3 and "63.38" in page and "82.70" in page  # a head, mIoU and accuracy
    assert "<td>no interval [1]</td>" in page and "fsbench reproduce emat --table 1" in page
    assert '<a href="papers.html">Papers</a>' in (tmp_path / "report/index.html").read_text()
