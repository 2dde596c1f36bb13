"""The page of speed shows what the committed results hold."""

import json
import re
import shutil
import subprocess

import pytest

from benchmarks.speed.gpu.figures import CudaTests, GpuFigures, Timing
from benchmarks.speed.harness import Measurements, Row
from benchmarks.speed.table import NO_GPU, PAGE, RESULTS, all_tables, filled, tables
from fsbench.errors import DataError
from fsbench.paths import REPOSITORY


def test_the_committed_pages_equal_what_the_generator_writes():
    page = PAGE.read_text()
    assert filled(page) == page
    assert (RESULTS / "README.md").read_text() == all_tables()


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
    page = filled("\n".join(f"<!-- results: {name} -->\n<!-- end -->" for name in ("a", "b", "x", "c")), tmp_path)
    shown = [line for line in page.splitlines() if line.startswith(("One.", "Two.", "| ")) and "---" not in line]
    assert [line.split(" Machine")[0] for line in shown] == ["One.", "| a |", "| b |", "Two.", "| x |", "One.", "| c |"]


def test_figures_of_two_clocks_make_no_table(tmp_path):
    content = json.loads((RESULTS / "networks.json").read_text())
    for name, clock in {"episodes": "wall", "folds": "processor"}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"clock": clock}))
    with pytest.raises(DataError, match="episodes, folds are not of one clock; measure them with"):
        filled(PAGE.read_text(), tmp_path)


def test_raw_figures_make_a_table_of_medians_against_the_first_path(tmp_path):
    rows = [
        Row(what="one way", path="whole", times=[3.0, 2.0, 90.0], peak_mib=949.4),
        Row(what="one way", path="chunks", times=[1.5], peak_mib=201.0),
        Row(what="episode", path="ours", times=[0.25]),
    ]
    content = Measurements(
        command="python -m benchmarks.speed.emat", opponent="a loop", machine="some CPU, 1 thread", clock="processor",
        versions={"torch": "2.9"}, commit="abc", date="2026-01-02", rows=rows,
    )  # fmt: skip
    (tmp_path / "emat.json").write_text(content.model_dump_json())
    head, table = tables(tmp_path)["emat"]
    assert head.startswith("Processor seconds, medians. ")
    assert "Compared with a loop. Machine: some CPU, 1 thread; torch 2.9. Of 2026-01-02, commit abc" in head
    assert table.splitlines()[2:] == [
        "| one way | chunks, whole | 2.00x as fast (3 s -> 1.5 s) | 949 -> 201 MiB |",
        "| episode | ours | 250 ms |  |",
    ]
    single = content.model_copy(update={"rows": rows[1:], "commit": "abc-dirty"})
    (tmp_path / "emat.json").write_text(single.model_dump_json())
    head, _ = tables(tmp_path)["emat"]
    assert head.startswith("Processor seconds, of one call each. ")
    assert "commit abc with changes that were not committed: " in head
    (tmp_path / "emat.json").write_text(content.model_copy(update={"commit": None}).model_dump_json())
    head, _ = tables(tmp_path)["emat"]
    assert "Of 2026-01-02, an earlier state of the code, whose commit is not kept: `python -m " in head


def test_figures_of_gpus_make_one_table_with_what_failed(tmp_path):
    def timing(path, **figures):
        return Timing(part="scan", what="scan", path=path, precision="fp32", deterministic=False, **figures)

    timings = [
        timing("torch", times=[0.004], seconds=0.004, peak_mib=80.0),
        timing("triton", times=[0.001], seconds=0.001, peak_mib=10.0),
        timing("mamba_ssm", problem="SettingsError: cannot be imported"),
    ]
    figures = GpuFigures(
        device="NVIDIA H", kind="cuda", capability="9.0", memory_mib=81920, driver="560.35", cuda="13.0",
        versions={"torch": "2.9"}, commit="abc", finished="2026-01-02T03:04:05", quick=False, minutes=7.0,
        tests=CudaTests(status=0, summary="40 passed", failures=[]), timings=timings,
    )  # fmt: skip
    (tmp_path / "quick.json").write_text(figures.model_copy(update={"quick": True}).model_dump_json())
    assert tables(tmp_path)["gpu"] == ("", NO_GPU)
    (tmp_path / "h.json").write_text(figures.model_dump_json())
    text = tables(tmp_path)["gpu"][1]
    assert "driver 560.35, CUDA 13.0, torch 2.9" in text and "CUDA tests: 40 passed" in text
    assert text.splitlines()[4:] == [
        "| scan | torch | 4 ms | 1.00x | 80 MiB |",
        "| scan | triton | 1 ms | 4.00x | 10 MiB |",
        "| scan | mamba_ssm | SettingsError: cannot be imported |  |  |",
    ]
