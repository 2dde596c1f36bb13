"""Which published tests are near, by the real command line; and a claim of the folds that were run."""

import json
import re

import pytest

from fsbench.cli.main import main
from fsbench.protocols.conditions import ATLAS_NAMES, DATASET
from fsbench.protocols.published_tests import published_tests
from fsbench.protocols.reading import load_protocol, protocol_names
from fsbench.results.atlas.atlas import shipped_atlas
from fsbench.results.atlas.which import Nearest, nearest_tests, words_of
from tests.cli.commands import FEW, run_command
from tests.fsbench.official_runs import DCAMA, EMAT
from tests.fsbench.official_runs import official as official

OWN = "name: mine\nversion: 1\nsummary: mine\nbase: hsnet\n"


@pytest.fixture
def which(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")

    def ask(*words, status=0):
        assert main([*map(str, words)]) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return ask


def rows(text):
    """The lines of the table below its rule, as lists of cells."""
    lines = text.splitlines()
    (rule,) = [place for place, line in enumerate(lines) if line.startswith("---")]
    ends = [match.span() for match in re.finditer("-+", lines[rule])]
    found = [[line[start:end].strip() for start, end in ends] for line in lines[rule + 1 :] if line.strip()]
    return [row for row in found if len(row) == 5]


def test_a_protocol_is_as_near_to_each_published_test_as_it_has_words_otherwise():
    for name in ("hsnet", "pfenet", "fscs", "fss_sam3", "bam"):
        own = words_of(load_protocol(name))
        for near in nearest_tests(own, shipped_atlas(), name):
            differ = [key for key, word in near.theirs.items() if near.ours[key] != word]
            assert {one.key for one in near.changes} >= set(differ) and DATASET.key not in differ
            for protocol in near.protocols:
                stated = published_tests()[protocol.removeprefix("atlas:")].conditions
                assert all(stated.get(key, word) == word for key, word in near.theirs.items())


def test_39_tests_of_programs_are_protocols_that_there_are():
    """Runnable rows of the atlas that equal a protocol with a file in every condition that both state."""
    equal = set()
    for name in protocol_names():
        if load_protocol(name).has_masks and not load_protocol(name).in_spirit:
            for near in nearest_tests(words_of(load_protocol(name)), shipped_atlas()):
                equal |= {(near.theirs[DATASET.key], protocol) for protocol in near.protocols if not near.changes}
    assert len(equal) >= 12 and {dataset for dataset, _ in equal} <= set(ATLAS_NAMES.values())


def test_the_file_of_a_protocol(which, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"{OWN}counting:\n  void: background\n")
    found = rows(which("atlas", "which", mine))
    assert rows(which("atlas", "which", "hsnet"))[0][2] == "nothing"
    assert ["void pixels (255)", "background", "ignored"] in [row[2:] for row in found]
    assert len([row for row in found if row[0].startswith("atlas:")]) == 5


def test_a_run_of_the_official_episodes(which, official):
    run = official(EMAT, "dinov2_vits14", identity={"image_size": 410})
    first, *_ = rows(which("atlas", "which", run.path))
    assert first[0] == "atlas:emat/pascal-5i" and first[2:4] == ["S, side of the network's input", "410"]
    for command in ("table", "compare"):
        said = which(command, run.path, "--published")
        assert "the nearest published tests" in said and "atlas:emat/pascal-5i" in said


@pytest.mark.slow(3)
def test_figures_of_its_own_test_stand_beside_each_run_that_is_compared(which, official):
    runs = [official(DCAMA, name, task="hsnet-1way1shot-original") for name in ("swin_base", "resnet50")]
    asked = ["compare", *(run.path for run in runs), "--published"]
    said = which(*asked)
    assert "published figures of this test" in said and "64.6" in said
    near = [each for each in json.loads(which(*asked, "--format", "json")) if "nearest to" in each]
    assert [each["tests"][0]["conditions"]["network_size"] for each in near] == ["384"]
    figures = near[0]["tests"][0]["figures"]
    assert {figure[0] for figure in figures} == {"DCAMA", "HSNet"}  # HSNet as DCAMA's authors ran it, at 384
    assert {(figure[2], figure[4]) for figure in figures if figure[:2] == ["DCAMA", "ResNet-50"]} >= {("1", "64.6")}


@pytest.mark.slow(20)
def test_a_kit_and_a_run_of_real_images(which, real_data, tmp_path):
    place = ["--data-root", real_data / "voc-mini"]
    which("kit", "pascal", "--fold", "0", "--protocol", "atlas:vat/pascal-5i", "--out", tmp_path / "kit", *place)
    found = rows(which("atlas", "which", tmp_path / "kit"))
    assert found[0][0] == "atlas:vat/pascal-5i" and {row[2] for row in found[:1]} == {"image lists"}
    mine = write(tmp_path / "mine.yaml", f"{OWN}counting:\n  void: background\n")
    run = ["--method", "prototype", "--backbone", "demo", "--data.image_size=64", "--data.loading.workers=0"]
    which("bench", *run, "--dataset", "pascal", "--fold", "0", "--protocol", mine, "--data.test.episodes=10",
          "--runs", tmp_path / "runs", *place)  # fmt: skip
    text = which("atlas", "which", tmp_path / "runs")
    assert {"image lists", "episodes a fold", "void pixels (255)"} <= {row[2] for row in rows(text)}
    again = re.search(r"void pixels .* can be counted now, .*: fsbench table (\S+) --protocol (\S+)", text)
    assert again[2] in which("table", again[1], "--protocol", again[2], *place)
    claim = "hmnet/pascal-5i/resnet-50"
    folds = which("table", tmp_path / "runs", "--claimed", claim, *place)
    assert "72.2 of hmnet/pascal-5i/resnet-50, fold 0" in folds and "70.4" not in folds
    lacking = which("table", tmp_path / "runs", "--claimed", "dcp/pascal-5i/resnet-50", *place, status=2)
    assert "fold 0" in lacking


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nothing", ["no folder"]),
        (lambda folder: folder, ["no finished run", ".yaml"]),
        (lambda folder: write(folder / "some.yaml", "a: 1\n"), ["some.yaml"]),
        (lambda folder: write(folder / "own.yaml", OWN.replace("hsnet", "fort")), ["classification"]),
    ],
)
def test_what_is_no_test_is_refused_in_a_line(make, words, which, tmp_path):
    said = which("atlas", "which", make(tmp_path), status=2)
    assert said.count("\n") == 1 and all(word in said for word in words)


def write(file, text):
    file.write_text(text)
    return file


def test_a_test_that_is_near_to_none_and_data_that_the_atlas_lacks(which, tmp_path, small_demo):
    (words, *_) = words_of(load_protocol("hsnet"))
    far = words | {
        "episodes_per_fold": "7",
        "episode_draw": "own",
        "geometry": "own",
        "compared_at": "own",
        "metric": "own",
    }
    sheet = Nearest("far", (far["dataset"],), nearest_tests([far], shipped_atlas())).sheet()
    assert not sheet.tables and "the nearest differs in 5 conditions" in sheet.title
    which(*run_command("prototype", tmp_path / "runs", small_demo, *FEW))
    assert "COCO-20i" in which("atlas", "which", tmp_path / "runs", status=2)
