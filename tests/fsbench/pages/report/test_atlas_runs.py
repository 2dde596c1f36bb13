"""Runs of a report among the published figures."""

import json
import re

import pytest

from fsbench.cli.main import main
from fsbench.results.atlas.atlas import read_atlas
from tests.fsbench.official_runs import DCAMA
from tests.fsbench.official_runs import official as official


def entries(page):
    return json.loads(re.search(r'id="atlas-data">(.*?)</script>', page.read_text(), re.DOTALL)[1])["entries"]


@pytest.mark.slow(2)
def test_a_run_stands_on_the_island_of_its_paper(official, tmp_path):
    run = official(DCAMA, "swin_base", task="hsnet-1way1shot-original")
    other = official(DCAMA, "resnet50", task="hsnet-1way1shot-original", identity={"image_size": 400})
    report = tmp_path / "report"
    assert main(["report", str(run.path), str(other.path), "--out", str(report)]) == 0
    assert 'href="atlas.html">Published' in (report / "index.html").read_text()
    text, found = (report / "atlas.html").read_text(), entries(report / "atlas.html")
    own = {entry["backbone"]: (name, entry) for name, entry in found.items() if entry["ours"]}
    assert set(own) == {"swin_base", "resnet50"} and len(found) == len(read_atlas().entries) + 2
    bodies = re.findall(r"<tbody id=.*?</tbody>", text, re.DOTALL)

    def island(name):
        (body,) = [body for body in bodies if f'data-row="{name}"' in body]
        return set(re.findall(r'data-row="([^"]+)"', body))

    name, entry = own["swin_base"]
    assert {"dcama/pascal-5i/resnet-50", "dcama/pascal-5i/swin-b"} < island(name)
    assert not {"dcama/pascal-5i/swin-b"} & island(own["resnet50"][0])  # compared at 400 pixels
    (figure,) = [figure for figure in entry["figures"] if figure["metric"] == "mIoU"]
    score = run.protocol.statistics(run.episodes, run.header).scores()["mIoU"]
    assert (figure["fold"], figure["whole"], figure["rank"]) == ("0", False, "")  # one of four folds has no rank
    assert figure["value"] == f"{score:.1f}" and run.run.id in figure["source"]
