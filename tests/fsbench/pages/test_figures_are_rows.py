"""Every figure on a page is a row of the results that a notebook gets: of a report, of an atlas page."""

import html
import json
import re

import polars as pl
import pytest

import fsbench
from fsbench.cli.main import main
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.scores.decisions import ALPHA
from tests.fsbench.official_runs import DCAMA
from tests.fsbench.official_runs import official as official

NUMBER = re.compile(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.]*\w)")
TRIVIAL = ("(all foreground)", "(all background)", "(majority)")


def text_of(page: str) -> str:
    """The words of a page, without scripts, styles, drawings and tags."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", page)).replace("\N{MINUS SIGN}", "-")


def written(frame: pl.DataFrame) -> set[str]:
    """All ways in which a page may write a cell of the frame: one to three digits, with or without a sign."""
    numbers = [frame[name].drop_nulls().to_list() for name in ("value", "low", "high", "p", "corrected")]
    values = {value for column in numbers for value in column}
    values |= {-value for value in values}  # a difference of two methods the other way round
    trivial = frame.filter(pl.col("method").is_in(TRIVIAL), pl.col("part_kind").is_in(["all", "fold"]))
    values |= set(trivial.group_by("method", "metric").agg(pl.col("value").mean())["value"])  # mean of their folds
    return {f"{value:{sign}.{digits}f}" for value in values for sign in ("", "+") for digits in (1, 2, 3)}


def strange(page: str, frame: pl.DataFrame) -> list[str]:
    """The figures of a page that are no cell of the frame; the level of tests is none of a result."""
    return [word for word in NUMBER.findall(text_of(page)) if word not in written(frame) | {str(ALPHA)}]


@pytest.fixture(scope="module")
def runs(shared_make):
    """Runs of two methods on both folds."""
    found = [shared_make(name, fold, quality) for name, quality in (("good", 2), ("bad", 5)) for fold in (0, 1)]
    return found[0].path.parent


@pytest.fixture(scope="module")
def frame(runs) -> pl.DataFrame:
    return fsbench.load_runs(runs).results(by="size,class", minus="all", trivial=True)


@pytest.mark.slow(2)
def test_of_a_report(runs, frame, tmp_path):
    out = fsbench.load_runs(runs).report(tmp_path / "report", metrics="mIoU,accuracy", photos=False).parent
    first = (out / "index.html").read_text()
    assert len(NUMBER.findall(text_of(first))) >= 8
    assert not strange(first, frame)


@pytest.mark.slow(2)
def test_of_an_atlas_page(official, tmp_path):
    """The page of a report with published figures: those of its runs are rows, the others those of the atlas."""
    run = official(DCAMA, "swin_base", task="hsnet-1way1shot-original")
    (tmp_path / "report").mkdir()
    assert main(["report", str(run.path), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/atlas.html").read_text()
    entries = json.loads(re.search(r'id="atlas-data">(.*?)</script>', page, re.DOTALL)[1])["entries"]
    own = [figure["value"] for entry in entries.values() if entry["ours"] for figure in entry["figures"]]
    frame = fsbench.load_runs(run.path).results()
    rows = {f"{value:.1f}" for value in frame["value"]}
    assert own and set(own) <= rows
    published = {
        each.id: [one.figure.printed or f"{one.figure.value:g}" for one in each.figures]
        for each in shipped_atlas().entries
    }
    shown = {name: [figure["value"] for figure in entry["figures"]] for name, entry in entries.items()}
    assert len(published) > 300 and {name: shown[name] for name in published} == published
