"""The page of speed shows what the committed results hold."""

import json
import re
import shutil
import subprocess

import pytest

from benchmarks.pages import fill, tables
from benchmarks.speed.harness import RESULTS, Measurements, Row
from benchmarks.speed.table import PAGE, filled
from fsbench.base.errors import DataError
from fsbench.base.paths import REPOSITORY


def test_the_committed_page_equals_what_the_generator_writes():
    page = PAGE.read_text()
    assert filled(page) == page


def test_commits_that_results_name_are_in_the_history():
    def git(*words):
        return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)

    if not shutil.which("git") or git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("the whole history is not here")
    for file in RESULTS.glob("*.json"):
        named = re.findall(r"(?:commit |\"commit\": \"|\()([0-9a-f]{7,40})\b", file.read_text())
        assert [name for name in named if git("cat-file", "-t", name).stdout.strip() != "commit"] == [], file.name


def test_a_figure_that_was_typed_is_replaced():
    page = PAGE.read_text()
    typed = re.sub(r"\| \d+\.\d\dx as fast", "| 36x as fast", page, count=1)
    assert typed != page and filled(typed) == page


def test_an_unknown_table_is_named():
    with pytest.raises(DataError, match="names the table nothing; expected one of"):
        filled("<!-- results: nothing -->\n<!-- end -->")


def test_a_table_stands_under_the_origin_of_its_own_file(tmp_path):
    for origin, names in {"One.": ("a", "b", "c"), "Two.": ("x",)}.items():
        content = {
            "origin": origin, "machine": "some CPU", "date": "2026-01-02",
            "tables": {name: {"columns": [name], "rows": []} for name in names},
        }  # fmt: skip
        (tmp_path / f"{names[0]}.json").write_text(json.dumps(content))
    page = fill("\n".join(f"<!-- results: {name} -->\n<!-- end -->" for name in ("a", "b", "x", "c")), tables(tmp_path))
    shown = [line for line in page.splitlines() if line.startswith(("One.", "Two.", "| ")) and "---" not in line]
    assert [line.split(" Machine")[0] for line in shown] == ["One.", "| a |", "| b |", "Two.", "| x |", "One.", "| c |"]


def test_figures_of_two_clocks_make_no_table(tmp_path):
    content = json.loads((RESULTS / "networks.json").read_text())
    for name, clock in {"episodes": "wall", "folds": "processor"}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"clock": clock}))
    with pytest.raises(DataError, match="episodes, folds are not of one clock; measure them with"):
        filled(PAGE.read_text(), tmp_path)


def test_a_row_is_the_way_that_is_run_against_the_first_by_medians(tmp_path):
    def content(*rows):
        return Measurements(
            command="python -m benchmarks.speed", machine="some CPU, 1 thread", clock="processor",
            versions={"torch": "2.9"}, commit="abc", date="2026-01-02", rows=rows,
        ).model_dump_json()  # fmt: skip

    plain = Row(what="one way", path="plain", times=[3.0, 2.0, 90.0], peak_mib=949.4)
    others = [Row(what="one way", path=path, times=[1.5, 1.5, 1.5], peak_mib=201.0) for path in ("other", "ours")]
    (tmp_path / "plain-forms.json").write_text(content(plain, *others))
    (tmp_path / "episodes.json").write_text(content(Row(what="episode", path="ours", times=[0.25])))
    (tmp_path / "some-gpu.json").write_text(content(Row(what="scan", path="triton", times=[1.0])))
    lines = filled("<!-- results: gains -->\n<!-- end -->", tmp_path).splitlines()
    assert lines[2].startswith("Processor seconds, medians ") and lines[2].endswith(
        "some CPU, 1 thread, torch 2.9; 2026-01-02."
    )
    assert lines[6:-2] == [
        "| episode |  | 250 ms |  |",
        "| one way | plain | 2.00x as fast, 1.33 to 60.00 (3 s -> 1.5 s) | 949 -> 201 MiB |",
    ]
