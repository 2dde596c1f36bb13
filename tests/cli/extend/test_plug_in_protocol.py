"""A protocol of an installed package, with a draw and a void rule of its own, in every command that reads its runs."""

import json

import pytest

from fsbench.base.paths import REPOSITORY
from tests.cli.test_readme import EXAMPLE
from tests.plugged import METHOD, install

pytestmark = pytest.mark.slow

TURNS = '''"""Queries in the list's reverse order, supports the next images of the class; void is forgiven."""

from itertools import count

from fsbench.protocols.draws.rules import DrawRule, one_way
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
    "from the end of the list, supports are the images that follow in the list of the class", turns, "sequential"
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


@pytest.fixture
def site(tmp_path):
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
    return install(tmp_path / "site", "fsb-turns", groups, files)


def test_every_command_takes_the_runs_of_a_package_s_protocol(fsbench, bench_arguments, site, tmp_path):
    def call(*words: str, status: int = 0, installed: bool = True) -> str:
        path = f"{REPOSITORY}:{site}" if installed else str(REPOSITORY)
        done = fsbench(*words, PYTHONPATH=path)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert "forgiven: whatever is predicted there is right" in call("list", "protocols", "--format", "markdown")
    for method in ("prototype", "constant"):
        call(*bench_arguments(method, "runs", "--protocol", "turns", "--fold", "0"))
    folders = sorted(path.parent for path in (tmp_path / "runs").glob("*/run.json"))
    header, first, *_ = (folders[0] / "manifest.jsonl").read_text().splitlines()
    assert json.loads(header)["protocol"] == "turns" and json.loads(header)["official_episodes"] == 9
    assert json.loads(first)["supports"] != []
    package = {"package": "fsb-turns", "version": "1.2", "commit": None}
    (origin,) = [
        one for one in json.loads((folders[1] / "run.json").read_text())["provenance"]["plug_ins"]
        if one["part"] == "protocol"
    ]  # fmt: skip
    assert origin | package == origin

    names = [str(folder) for folder in folders]
    table = call("table", "runs")
    assert "protocol turns v3" in table and "constant" in table and "prototype" in table
    assert "constant" in call("compare", *names)
    rescored = call("table", "runs", "--protocol", "fscs")
    assert "own metric: turns v3" in rescored and "metric of fscs v1" in rescored
    call("report", "runs", "--out", "pages")
    assert "forgiven: whatever is predicted there" in next(tmp_path.glob("pages/study-*/index.html")).read_text()
    assert "IoU" in call("explain", names[0], "--episode", "0")

    (tmp_path / "cards").mkdir()
    for method in ("constant", "prototype"):
        (tmp_path / "cards" / f"{method}.yaml").write_text(CARD)
    (tmp_path / "bundles").mkdir()
    call("bundle", *names, "--card", "cards", "-o", "bundles/turns.fsb")
    assert "protocol turns version 3" in call("verify", "bundles/turns.fsb")
    call("report", "--board", "bundles", "--out", "board", "--strict")
    assert "protocol turns v3" in (tmp_path / "board" / "index.html").read_text()

    said = call("table", "runs", status=2, installed=False)
    assert "unknown protocol 'turns'" in said and "Traceback" not in said


def test_a_file_may_name_no_draw_that_no_entry_point_names(fsbench, tmp_path):
    files = {"fsb_turns/turns.py": TURNS, "fsb_turns/configs/protocols/turns.yaml": FILE}
    site = install(tmp_path / "site", "fsb-turns", {"fsbench.configs": {"turns": "fsb_turns.configs"}}, files)
    done = fsbench("list", "protocols", PYTHONPATH=f"{REPOSITORY}:{site}")
    assert done.returncode == 2 and "episode_draw is 'turns', of which there is no part" in done.stderr, done.stderr


def test_the_guides_draw_is_one_function_and_one_file(fsbench, bench_arguments, tmp_path):
    guide = (REPOSITORY / "docs" / "guides" / "protocols.md").read_text(encoding="utf-8")
    files = {name: text for name, text in EXAMPLE.findall(guide) if name.startswith("everyimage/")}
    groups = {
        "fsbench.protocols": {"every-image": "everyimage.draws:EVERY_IMAGE"},
        "fsbench.configs": {"everyimage": "everyimage.configs"},
    }
    site = install(tmp_path / "site", "everyimage", groups, files | {"everyimage/__init__.py": ""})
    words = bench_arguments("prototype", "runs", "--protocol", "everyimage", "--fold", "0")
    done = fsbench(*words, PYTHONPATH=f"{REPOSITORY}:{site}")
    assert done.returncode == 0, done.stderr
    (manifest,) = (tmp_path / "runs").glob("*/manifest.jsonl")
    queries = [json.loads(line)["query"] for line in manifest.read_text().splitlines()[1:-1]]
    assert len(queries) == len(set(queries)) > 1
