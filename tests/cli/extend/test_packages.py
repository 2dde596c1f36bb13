"""Installed packages bring protocols with a draw, a void rule and a metric of their own, and a row of the atlas; every
command knows them."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.protocols.programs import FOLDER, PROGRAMS, TESTS
from fsbench.records.record import find_records
from tests.cli.test_readme import EXAMPLE
from tests.drawn_domains import prepare_drawn
from tests.plugged import METHOD, install, installed

pytestmark = pytest.mark.slow(30)

TURNS = '''"""Queries in the list's reverse order, supports the next images of the class; void is forgiven."""

from itertools import count

from fsbench.protocols.episode_rules.rules import DrawRule, one_way
from fsbench.scores.confusion import VoidIgnored


class VoidForgiven(VoidIgnored):
    """Predictions on void are right."""

    words = "forgiven: whatever is predicted there is right"

    def intersection_union(self, counts):
        hits, union = super().intersection_union(counts)
        return hits + counts[..., 3], union + counts[..., 3]


FORGIVEN = VoidForgiven()


def turns(source):
    for i in count():
        query, number = source.pool.pairs[-1 - i % len(source.pool.pairs)]
        images = source.pool.images_of[number]
        first = images.index(query) + 1
        yield one_way(i, query, number, [images[(first + k) % len(images)] for k in range(source.shot)])


TURNS = DrawRule(
    turns, "sequential", words="from the end of the list, supports are the images that follow in the list of the class"
)
'''
FILE = """# one after the other
name: turns
version: 3
summary: one after the other, void forgiven
draw: {episodes: {others: 9}, episode_draw: turns, published_on: []}
counting: {void: forgiven}
"""
CARD = """backbone_saw_test_images: no
trials: 1
"""
MEANING = "mean over the classes of twice the overlap / the areas of prediction and truth"
ROW = "atlas:stranger/pascal-5i"


def stranger_files() -> dict[str, str]:
    """Return files of a test and its program: MLC's lists and draw, in three processes, compared at a fixed size."""
    program = next(line for line in lines(PROGRAMS) if line["method"] == "MLC (baseline)" and "pascal" in line["test"])
    test = next(line for line in lines(TESTS) if line["key"] == program["test"])
    program |= {"method": "Stranger", "test": "stranger/pascal-5i", "goldens": "", "certainty": "read"}
    test |= {
        "key": "stranger/pascal-5i", "workers": "3", "seeds": "7", "episodes_per_fold": "20",
        "geometry": "squash, OpenCV", "compared_at": "fixed 512",
    }  # fmt: skip
    found = {}
    for file, cells in ((TESTS, test), (PROGRAMS, program)):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(cells))
        writer.writeheader()
        writer.writerow(cells)
        found[f"fsb_rows/configs/atlas/{file}"] = text.getvalue()
    return found


def lines(file: str) -> list[dict[str, str]]:
    with (FOLDER / file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def guide_files(package: str) -> dict[str, str]:
    """Return the files of a package that the guide to protocols shows."""
    guide = (REPOSITORY / "docs" / "guides" / "protocols.md").read_text(encoding="utf-8")
    files = {name: text for name, text in EXAMPLE.findall(guide) if name.startswith(f"{package}/")}
    assert files
    return files | {f"{package}/__init__.py": ""}


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder of four packages: the guide's draw, the guide's metric, both with a method, and a row."""
    folder = tmp_path / "site"
    guides = {
        "bydice": {"pooled-Dice": "bydice.metric:PooledDice"},
        "everyimage": {"every-image": "everyimage.draws:EVERY_IMAGE"},
    }
    for name, protocols in guides.items():
        groups = {"fsbench.protocols": protocols, "fsbench.configs": {name: f"{name}.configs"}}
        install(folder, f"fsbench-{name}", groups, guide_files(name), "0.1.0")
    groups = {
        "fsbench.methods": {"constant": "fsb_turns.mine:Constant"},
        "fsbench.protocols": {"turns": "fsb_turns.turns:TURNS", "forgiven": "fsb_turns.turns:FORGIVEN"},
        "fsbench.configs": {"turns": "fsb_turns.configs"},
    }
    files = {
        "fsb_turns/__init__.py": "",
        "fsb_turns/mine.py": METHOD,
        "fsb_turns/turns.py": TURNS,
        "fsb_turns/configs/protocols/turns.yaml": FILE,
    }
    install(folder, "fsb-turns", groups, files)
    files = {"fsb_rows/__init__.py": "", **stranger_files()}
    return install(folder, "fsb-rows", {"fsbench.configs": {"rows": "fsb_rows.configs"}}, files)


@pytest.fixture
def call(command, tmp_path, monkeypatch):
    """call(*words, status) -> all that a command said, in this process, which works in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, status: int = 0) -> str:
        ended, out, err = command(*words)
        assert ended == status and "Traceback" not in err, (words, err)
        return out + err

    return run


def test_every_command_takes_the_runs_of_packages_protocols(fsbench, call, bench_arguments, site, tmp_path):
    names = ["bydice", "turns", "everyimage", ROW]
    words = bench_arguments("prototype,constant", "runs", "--protocol", ",".join(names), "--fold", "0")
    done = fsbench(*words, PYTHONPATH=f"{REPOSITORY}:{site}")
    assert done.returncode == 0, done.stderr
    runs = {name: [] for name in names}
    for folder in sorted(path.parent for path in (tmp_path / "runs").glob("*/run.json")):
        header = json.loads((folder / "manifest.jsonl").read_text().split("\n")[0])
        runs[header["protocol"]].append(str(folder.relative_to(tmp_path)))
    assert [len(folders) for folders in runs.values()] == [2] * 4
    check_records(tmp_path, runs)
    with installed(site):
        check_metric(call, tmp_path, runs["bydice"])
        check_draw_and_void(call, tmp_path, runs["turns"])
        assert ROW in call("list", "protocols", "atlas:")
        shown = " ".join(call("list", "protocols", ROW).split())
        assert "episodes hang on: workers 3" in shown and "stranger/pascal-5i: main.py of" in shown
        assert f"protocol {ROW} v1" in call("table", *runs[ROW])
        assert "metric of atlas:vat/pascal-5i v1" in call("table", *runs[ROW], "--protocol", "atlas:vat/pascal-5i")
    for name, said in (("turns", "unknown protocol 'turns'"), (ROW, "unknown row 'stranger/pascal-5i'")):
        assert said in call("table", *runs[name], status=2)


def check_records(folder: Path, runs: dict[str, list[str]]) -> None:
    """The records name packages, and the manifests are drawn as these say."""
    constant, prototype = ([folder / run for run in runs[name]] for name in ("turns", "bydice"))
    (origin,) = json.loads((prototype[1] / "run.json").read_text())["provenance"]["plug_ins"]
    assert origin == {
        "part": "protocol", "name": "bydice", "package": "fsbench-bydice", "version": "0.1.0", "commit": None
    }  # fmt: skip
    origins = json.loads((constant[0] / "run.json").read_text())["provenance"]["plug_ins"]
    assert {(one["part"], one["package"], one["version"]) for one in origins} == {
        ("method", "fsb-turns", "1.2"), ("protocol", "fsb-turns", "1.2")
    }  # fmt: skip
    header, first, *_ = (json.loads(line) for line in (constant[0] / "manifest.jsonl").read_text().splitlines())
    assert header["official_episodes"] == 9 and first["supports"] != []
    header = json.loads((folder / runs[ROW][0] / "manifest.jsonl").read_text().split("\n")[0])
    assert (header["seed"], header["drawn_by"]) == (7, {"workers": 3})
    lines = (folder / runs["everyimage"][0] / "manifest.jsonl").read_text().splitlines()[1:-1]
    queries = [json.loads(line)["query"] for line in lines]
    assert len(queries) == len(set(queries)) > 1


def check_metric(call, folder: Path, runs: list[str]) -> None:
    """The guide's metric stands in every table."""
    (block,) = json.loads(call("table", *runs, "--no-trivial", "--format", "json"))
    assert list(block["metrics"]) == ["pooled-Dice", "mIoU"]
    for row in block["rows"]:
        dice, iou = (row["scores"][name]["value"] for name in ("pooled-Dice", "mIoU"))
        assert iou < dice <= 2 * iou  # of every class 2 IoU / (1 + IoU), where no void is in the union
    value = f"{block['rows'][0]['scores']['pooled-Dice']['value']:.2f}"
    for words in (("table", *runs), ("table", *runs, "--metrics", "pooled-Dice")):
        text = call(*words)
        assert value in text and "pooled-Dice" in text and "twice the overlap" in text
    compared = call("compare", *runs)
    assert "pooled-Dice, fold 0" in compared and value in compared
    call("report", *runs, "--out", "pages-dice")
    page = next(folder.glob("pages-dice/study-*/index.html")).read_text()
    assert "pooled-Dice" in page and value in page and "twice the overlap" in page
    assert f"pooled-Dice: {MEANING}" in " ".join(call("list", "protocols", "bydice").split())
    assert "twice the overlap" in call("list")
    assert f"class-pooled Dice: {MEANING}" in " ".join(call("atlas", "words", "metric").split())
    said = call("table", *runs, "--metrics", "pooled-Dise", status=2)
    assert "unknown metric 'pooled-Dise'; did you mean 'pooled-Dice'?" in said


def check_draw_and_void(call, folder: Path, runs: list[str]) -> None:
    """A protocol with a draw and a void rule of its own, from the table to the leaderboard."""
    assert "forgiven: whatever is predicted there is right" in call("list", "protocols", "--format", "markdown")
    table = call("table", *runs)
    assert "protocol turns v3" in table and "constant" in table and "prototype" in table
    assert "constant" in call("compare", *runs)
    rescored = call("table", *runs, "--protocol", "fscs")
    assert "own metric: turns v3" in rescored and "metric of fscs v1" in rescored
    call("report", *runs, "--out", "pages")
    assert "forgiven: whatever is predicted there" in next(folder.glob("pages/study-*/index.html")).read_text()
    assert "IoU" in call("explain", runs[0], "--episode", "0")
    for name in ("cards", "bundles"):
        (folder / name).mkdir()
    for method in ("constant", "prototype"):
        (folder / "cards" / f"{method}.yaml").write_text(CARD)
    call("bundle", *runs, "--card", "cards", "-o", "bundles/turns.fsb")
    assert "protocol turns version 3" in call("verify", "bundles/turns.fsb")
    call("report", "--board", "bundles", "--out", "board", "--strict")
    assert "protocol turns v3" in (folder / "board" / "index.html").read_text()


def test_runs_stand_in_the_atlas_in_the_metrics_own_words(fsbench, call, site, tmp_path):
    place = ["--dataset", "isic", "--data-root", str(prepare_drawn(tmp_path, "isic")), "--runs", "runs"]
    small = ["--data.image_size=64", "--data.test.episodes=6", "--data.loading.workers=0", "--no-trivial"]
    words = ["bench", "--method", "blind_centre", "--protocol", "bydice", *place, *small]
    done = fsbench(*words, PYTHONPATH=f"{REPOSITORY}:{site}")
    assert done.returncode == 0, done.stderr
    with installed(site):
        call("report", "runs", "--out", "pages")
        (record,) = find_records(tmp_path / "runs")
        score = record.scores["pooled-Dice"]
    text = (tmp_path / "pages" / "atlas.html").read_text()
    data = json.loads(re.search(r'id="atlas-data">(.*?)</script>', text, re.DOTALL)[1])
    (entry,) = [entry for entry in data["entries"].values() if entry["ours"]]
    assert entry["conditions"]["metric"] == "class-pooled Dice"
    assert data["words"]["metric"]["class-pooled Dice"] == MEANING
    figures = {figure["metric"]: figure["value"] for figure in entry["figures"]}
    assert figures["pooled-Dice"] == f"{score:.1f}" and "mIoU" in figures


def test_a_file_may_name_no_draw_that_no_entry_point_names(call, tmp_path):
    files = {"fsb_turns/turns.py": TURNS, "fsb_turns/configs/protocols/turns.yaml": FILE}
    site = install(tmp_path / "site", "fsb-turns", {"fsbench.configs": {"turns": "fsb_turns.configs"}}, files)
    with installed(site):
        said = call("list", "protocols", status=2)
    assert "episode_draw is 'turns', for which there is no rule" in said
