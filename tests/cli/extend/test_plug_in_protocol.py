"""A protocol of an installed package, with a draw and a void rule of its own, in every command that reads its runs."""

import json

import pytest

from fsbench.base.paths import REPOSITORY
from tests.plugged import METHOD, install

pytestmark = pytest.mark.slow

TURNS = '''"""Queries in the list's reverse order, supports the next images of the class; void is forgiven."""

from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.scores.confusion import VOID_RULES, VoidIgnored
from fsbench.protocols.protocol import Protocol


class VoidForgiven(VoidIgnored):
    """Predictions on void are right."""

    def intersection_union(self, counts):
        hits, union = super().intersection_union(counts)
        return hits + counts[..., 3], union + counts[..., 3]


VOID_RULES["forgiven"] = VoidForgiven()


@dataclass(frozen=True)
class Turns(Segmentation):
    """1-way K-shot without a random number."""

    seed: int | None = None
    offset: int = 1
    void: Literal["forgiven"] = "forgiven"

    drawing = "from the end of the list, supports are the images that follow in the list of the class"

    def draw(self, index, pool, task):
        for i in count():
            query, number = pool.pairs[-1 - i % len(pool.pairs)]
            images = pool.images_of[number]
            first = images.index(query) + self.offset
            supports = tuple(images[(first + k) % len(images)] for k in range(task.shot))
            yield Episode(i, query, number, (number,), (supports,))

    def void_words(self):
        return "forgiven: whatever is predicted there is right"
'''
FILE = """# one after the other
class_path: fsb_turns.turns.Turns
name: turns
version: 3
summary: one after the other, void forgiven
episodes: {others: 9}
"""
CARD = """backbone_saw_test_images: no
trials: 1
"""


@pytest.fixture
def site(tmp_path):
    groups = {
        "fsbench.methods": {"constant": "fsb_turns.mine:Constant"},
        "fsbench.protocols": {"turns": "fsb_turns.turns:Turns"},
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


def test_a_file_may_name_no_class_that_no_entry_point_names(fsbench, tmp_path):
    files = {"fsb_turns/turns.py": TURNS, "fsb_turns/configs/protocols/turns.yaml": FILE}
    site = install(tmp_path / "site", "fsb-turns", {"fsbench.configs": {"turns": "fsb_turns.configs"}}, files)
    done = fsbench("list", "protocols", PYTHONPATH=f"{REPOSITORY}:{site}")
    assert done.returncode == 2 and "as an entry point of fsbench.protocols" in done.stderr, done.stderr
