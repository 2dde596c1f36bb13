"""A test repeated with other seeds of its episodes, which are draws of it; and HMNet's tests with more episodes."""

import json
from shutil import copytree
from statistics import mean, stdev

import pytest
import torch

from fsbench.core.released_format import WRITTEN_BY
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.records.record import find_records
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.cli.conftest import environment_of_test
from tests.config_words import parse_run

SMALL = ["--model.width=8", "--model.feature_side=8", "--model.states=2", "--data.loading.workers=0"]


def test_pfenets_episodes_beyond_its_own_number(small_demo):
    data, protocol = Folder(str(small_demo)), load_protocol("pfenet")
    few, many = (protocol.manifest(data, Task(0, episodes=n, empty=False, seed=0)) for n in (1000, 2000))
    assert len(many.episodes) == 2000 and [episode.number for episode in many.episodes] == list(range(2000))
    assert len(few.episodes) == 1000 and few.sha256 != many.sha256


@pytest.mark.slow(3)
def test_a_record_says_that_the_base_learner_was_left_out(small_demo, tmp_path):
    extra = [f"--data.dataset.root={small_demo}", "--model.backbone.name=pspnet_vgg16", "--data.image_size=65", *SMALL]
    request = dict(dataset="folder", fold=0, weights="random")
    method = parse_run(RunConfig("hmnet", **request, extra=extra)).model
    torch.save({"state_dict": method.state_dict(), WRITTEN_BY: method.describe()}, tmp_path / "best.ckpt")
    found = []
    for bam in ("true", "false"):
        own = RunConfig(
            "hmnet", **request, checkpoint=str(tmp_path / "best.ckpt"), extra=[*extra, f"--model.bam={bam}"]
        )
        found.append(Experiment(parse_run(own)).identity.training)
    assert set(found[0]) == {"checkpoint_sha256"} and found[1] == found[0] | {"trained_with": {"bam": True, "shots": 1}}


@pytest.fixture(scope="module")
def seeds(small_demo, warm_process, tmp_path_factory):
    """Two methods, tested with three seeds by one command; the folder of the runs, and what the command said."""
    folder = tmp_path_factory.mktemp("seeds")
    words = ["--method", "prototype,blind_centre", "--backbone", "demo", "--protocol", "hsnet", "--test-seed", "0,1,2"]
    words += ["--dataset", "folder", "--data-root", str(small_demo), "--runs", str(folder), "--image-size", "64"]
    words += ["--episodes", "6", "--data.loading.workers=0"]
    done = warm_process.call(("bench", *words), folder.parent, environment_of_test(folder.parent))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow(15)
def test_seeds_of_a_test_are_its_draws(seeds, command):
    folder, said = seeds
    scores: dict[str, dict[str, float]] = {}
    for record in find_records(folder):
        own = scores.setdefault(record.run.identity.method.name, {})
        own[f"test seed {record.header.seed}"] = record.scores["mIoU"]
    for own in scores.values():
        values = [*own.values()]
        own |= {"mean over test seeds": mean(values), "sd over test seeds": stdev(values)}
    status, out, err = command("table", folder, "--format", "json")
    assert status == 0, err
    first, *others = json.loads(out)
    drawn = {line["method"]: line["by_draw"] for line in first["rows"] if line["by_draw"]}
    found = {name: {part: own["mIoU"]["value"] for part, own in of.items()} for name, of in drawn.items()}
    assert found.keys() == scores.keys() and len(others) == 2
    for name, own in found.items():
        assert own == pytest.approx(scores[name])
    assert 0 < said.index("sd of 3") < said.index("95 % interval")
    assert "side by side" not in said  # they are not other tests
    status, out, err = command("table", folder, "--by", "draw", "--format", "json", "--plot", folder / "draws.png")
    assert status == 0, err
    (study,) = json.loads(out)
    assert not study["lines"] and (folder / "draws.png").stat().st_size > 5000
    rows = {(row["method"], row["part"]): row["value"] for row in study["draws"] if row["metric"] == "mIoU"}
    assert rows == pytest.approx({(name, part): value for name, own in scores.items() for part, value in own.items()})
    assert command("report", folder, "--out", folder / "report", "--no-photos")[0] == 0
    pages = [(folder / f"report/study-{number}/index.html").read_text() for number in (1, 2, 3)]
    assert ['<section id="draws">' in page for page in pages] == [True, False, False]


@pytest.mark.slow(15)
def test_methods_are_compared_within_a_seed(seeds, command):
    folder, _ = seeds
    status, out, err = command("compare", folder, "--format", "json")
    assert status == 0, err
    first, *others = json.loads(out)
    assert len(others) == 2 and not any(other["draws"] for other in others)
    scores = {(r.run.identity.method.name, r.header.seed): r.scores["mIoU"] for r in find_records(folder)}
    rows = {row["part"]: row for row in first["draws"] if row["metric"] == "mIoU"}
    method, minus = (rows["test seed 0"][name] for name in ("method", "minus"))
    gaps = [scores[method, seed] - scores[minus, seed] for seed in range(3)]
    assert [rows[f"test seed {seed}"]["value"] for seed in range(3)] == pytest.approx(gaps)
    assert rows["mean over test seeds"]["value"] == pytest.approx(mean(gaps))
    assert rows["sd over test seeds"]["value"] == pytest.approx(stdev(gaps))


@pytest.mark.slow(15)
def test_a_method_without_one_of_the_seeds_has_no_mean(seeds, command, tmp_path):
    folder, _ = seeds
    for record in find_records(folder):
        if (record.run.identity.method.name, record.header.seed) != ("blind_centre_demo", 2):
            copytree(record.path, tmp_path / record.path.name)
    status, out, err = command("table", tmp_path, "--format", "json")
    assert status == 0, err
    lines = {line["method"]: line["by_draw"] for line in json.loads(out)[0]["rows"] if line["by_draw"]}
    has_mean = {name: "mean over test seeds" in parts for name, parts in lines.items()}
    assert has_mean == {"prototype_demo": True, "blind_centre_demo": False}
