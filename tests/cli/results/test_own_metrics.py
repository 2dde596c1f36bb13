"""A metric of one's own, the guide's file as printed: from one file it stands in every table, comparison and page."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest

import fsbench as suite
from fsbench.base.paths import REPOSITORY
from fsbench.pages.report.workers import SERIAL_RUNS, workers
from fsbench.protocols import reading
from fsbench.protocols.reading import metric_named, metric_names
from fsbench.records.predictions import read_predictions
from fsbench.records.record import find_records
from fsbench.runner.engine.stored_data import open_truth
from tests.cli.test_readme import EXAMPLE
from tests.plugged import install

GUIDE = (REPOSITORY / "docs" / "guides" / "add-a-metric.md").read_text(encoding="utf-8")
FILES = dict(EXAMPLE.findall(GUIDE))
FILE = "mine/metric.py"
NAME, OWN = "inside-mIoU", f"{FILE}:InsideIoU"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The reader's folder with the guide's file; what a test adds in this process is forgotten afterwards."""
    monkeypatch.setattr(reading, "_added", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / FILE).write_text(FILES[FILE])
    return tmp_path


def plain_score(record) -> float:
    """The guide's score in percent, pixel by pixel, of a test whose void pixels are background."""
    truths, stored = open_truth(record), read_predictions(record)
    sums = defaultdict(lambda: np.zeros(3))
    for episode in record.manifest.episodes:
        truth, found = truths(episode.number), stored.label_map(episode.number)
        height, width = truth.shape
        inside = np.ones(truth.shape, dtype=bool)
        for y in range(height):
            for x in range(width):
                around = truth[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
                inside[y, x] = (around == truth[y, x]).all()
        for way, number in enumerate(episode.classes, 1):
            p, t = found == way, truth == way
            sums[number] += [(p & t & inside).sum(), ((p | t) & inside).sum(), t.sum()]
    shares = []
    for number in record.header.class_ids:
        both, either, shown = sums[number]
        if either > 0 or not shown:
            shares.append(both / either if shown else 0.0)
    return 100 * sum(shares) / len(shares)


def test_the_guide_is_short_and_the_template_has_its_file():
    lines = [line for line in FILES[FILE].splitlines() if line]
    assert list(FILES) == [FILE] and len(lines) <= 25
    assert (REPOSITORY / "docs" / "template" / FILE).read_text(encoding="utf-8") == FILES[FILE]
    entry = 'inside-mIoU = "mine.metric:InsideIoU"'
    assert entry in GUIDE and entry in (REPOSITORY / "docs" / "template" / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow(30)
def test_one_file_is_a_metric_everywhere(fsbench, warm, bench_arguments, folder):
    def said(*words: str, **installed: str) -> str:
        done = (fsbench if installed else warm)(*words, **installed)  # a process looks for packages where it starts
        assert done.returncode == 0, done.stderr
        return done.stdout

    few = ["--protocol", "fscs", "--data.test.episodes=30", "--keep-predictions", "masks", "--metrics", f"{OWN},mIoU"]
    text = said(*bench_arguments("prototype,hummingbird", "runs", *few))
    assert f"{NAME}: mIoU without a band of 3 pixels" in " ".join(text.split())
    records = {record.run.identity.method.name: record for record in find_records(folder / "runs")}
    expected = {method: plain_score(record) for method, record in records.items()}
    assert len({round(score, 2) for score in expected.values()}) == 2 and all(expected.values())
    for method, score in expected.items():
        assert score != pytest.approx(records[method].scores["mIoU"], abs=0.1)
        assert NAME not in records[method].scores  # a record does not know who looks at it
        assert f"{score:.2f}" in text

    lines = csv.DictReader(io.StringIO(said("table", "runs", "--metrics", OWN, "--by", "size", "--format", "csv")))
    cells = [line for line in lines if line["metric"] == NAME]
    whole = {line["method"]: line for line in cells if line["part"] == "all" and line["run"]}
    for method, score in expected.items():
        (line,) = (line for name, line in whole.items() if name.startswith(method))
        assert float(line["value"]) == pytest.approx(score)
        assert float(line["low"]) < score < float(line["high"])
    parts = {line["part"] for line in cells}
    assert any("0-5" in part for part in parts) and not any("absent" in part for part in parts)

    (block,) = json.loads(said("table", "runs", "--metrics", OWN, "--format", "json", "--no-trivial"))
    found = {row["method"]: row["scores"][NAME]["value"] for row in block["rows"]}
    assert sorted(found.values()) == pytest.approx(sorted(expected.values()))

    (compared,) = json.loads(said("compare", "runs", "--metrics", OWN, "--format", "json"))
    (line,) = compared["tables"]["all"][NAME]
    difference = line["difference"]["difference"]
    first, second = line["difference"]["scores"]
    assert sorted([first, second]) == pytest.approx(sorted(expected.values()))
    assert difference["value"] == pytest.approx(first - second)
    assert difference["low"] < difference["value"] < difference["high"] and 0 < difference["p"] <= 1

    said("report", "runs", "--metrics", OWN, "--out", "report")
    page = (folder / "report" / "study-1" / "index.html").read_text()
    for score in found.values():
        assert f'data-value="{score}"' in page
    assert f"--metrics {OWN}" in page + (folder / "report" / "index.html").read_text()  # the command, to be repeated

    frame = suite.load_runs("runs").table(metrics=OWN, trivial=False).frame
    assert sorted(frame[NAME].to_list()) == pytest.approx(sorted(expected.values()))
    assert suite.load_runs("runs")["prototype"].interval(OWN).value == pytest.approx(expected["prototype"])
    differences = suite.load_runs("runs").compare(metrics=NAME).frame  # known by its name from here on
    assert differences["metric"].to_list() == [NAME]

    site = install(
        folder / "site", "fsb-inside", {"fsbench.metrics": {NAME: "fsb_inside.metric:InsideIoU"}},
        {"fsb_inside/__init__.py": "", "fsb_inside/metric.py": FILES[FILE]},
    )  # fmt: skip
    installed = {"PYTHONPATH": f"{REPOSITORY}:{site}"}
    (block,) = json.loads(said("table", "runs", "--metrics", NAME, "--format", "json", "--no-trivial", **installed))
    assert {row["method"]: row["scores"][NAME]["value"] for row in block["rows"]} == found
    assert "mIoU without a band of 3 pixels" in " ".join(said("list", "metrics", **installed).split())
    assert warm("table", "runs", "--metrics", NAME).returncode == 2


@pytest.mark.slow(6)
def test_processes_of_a_large_report_know_the_metric(folder):
    (name,) = metric_names(OWN)
    with workers(SERIAL_RUNS + 1) as pool:
        assert pool.submit(metric_named, name).result().meaning == metric_named(name).meaning


def test_a_changed_file_is_the_changed_metric(folder):
    """As in a notebook, where a file is edited between two cells."""
    assert metric_names(OWN) == [NAME] and "band of 3 pixels" in metric_named(NAME).meaning
    text = FILES[FILE].replace("BAND = 3", "BAND = 5").replace("of 3 pixels", "of 5 pixels")
    (folder / FILE).write_text(text)
    assert metric_names(f"{OWN},mIoU,{OWN}") == [NAME, "mIoU"]
    assert "band of 5 pixels" in metric_named(NAME).meaning


def test_code_of_a_file_prints_to_stderr(folder):
    """Standard output is the table's own."""
    (folder / FILE).write_text(f"print('hello')\n{FILES[FILE]}")
    code = f"from fsbench.protocols.reading import metric_names; print(metric_names('{OWN}'))"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == (f"['{NAME}']\n", "hello\n")


CHANGES = [
    ("class InsideIoU(Metric)", "class Outside(Metric)", "metric.py has no class InsideIoU; it has Outside"),
    ("class InsideIoU(Metric)", "class InsideIoU", "metric.py:InsideIoU is no metric; expected a class on"),
    ("def compute(", "def computed(", "metric.py:InsideIoU is unfinished: it lacks compute"),
    ('    meaning = "', '    words = "', "metric.py:InsideIoU has no meaning; expected all three"),
    ('name = "inside-mIoU"', 'name = "mIoU"', "has the name mIoU, which a metric of fsbench or a protocol has; rename"),
    ('PixelSum("inside"', 'PixelSum("union"', "has a sum of the name union, which is another sum of mIoU; rename it"),
    ("    def compute", "    def __init__(self, band): ...\n\n    def compute", "cannot be made without values ("),
]  # fmt: skip
"""A line of the guide's file, what stands in its place, and what is said."""


@pytest.mark.parametrize(("line", "other", "expected"), CHANGES)
def test_what_is_no_metric_is_refused(folder, command, line, other, expected):
    assert line in FILES[FILE]
    (folder / FILE).write_text(FILES[FILE].replace(line, other))
    status, out, err = command("compare", "runs", "--metrics", OWN)
    assert status == 2 and not out and len(err.splitlines()) == 1
    assert expected in err


def test_two_files_have_no_metric_of_one_name(folder, command):
    (folder / "other.py").write_text(FILES[FILE].replace("BAND = 3", "BAND = 4"))
    status, _, err = command("compare", "runs", "--metrics", f"{OWN},other.py:InsideIoU")
    assert status == 2 and re.search(r"other.py:InsideIoU has the name inside-mIoU, which a metric of .*mine", err)


@pytest.mark.parametrize(
    ("entry", "value", "expected"),
    [
        pytest.param(
            "inside", "fsb_inside.metric:InsideIoU", "its metric has the name inside-mIoU; expected one name; correct",
            marks=pytest.mark.slow(1),
        ),
        pytest.param(
            NAME, "fsb_inside.metric:count_inside", "of the package fsb-inside 1.2 is no metric; expected a class",
            marks=pytest.mark.slow(1),
        ),
        (NAME, "fsb_inside.nothing:InsideIoU", "cannot import fsb_inside.nothing:InsideIoU, the entry point inside-m"),
    ],
)  # fmt: skip
def test_packages_whose_metric_is_none_are_refused(fsbench, folder, entry, value, expected):
    files = {"fsb_inside/__init__.py": "", "fsb_inside/metric.py": FILES[FILE]}
    site = install(folder / "site", "fsb-inside", {"fsbench.metrics": {entry: value}}, files)
    done = fsbench("compare", "runs", "--metrics", entry, PYTHONPATH=f"{REPOSITORY}:{site}")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert expected in done.stderr
