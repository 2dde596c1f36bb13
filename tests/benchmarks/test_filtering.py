"""Tables of what a filter of training images moves, and of EMAT's ablations, of runs that were made elsewhere."""

import argparse

import pytest

from benchmarks import ablations
from benchmarks.protocols import filtering, single_run
from fsbench.runner.grid.bench import Request
from fsbench.scores.estimate import estimates


def options(**given):
    usual = dict(dataset="demo", fold=0, runs="runs", protocol=None, data_root=None, lists=[], extra=[])
    return argparse.Namespace(**usual | given)


def test_each_method_is_trained_with_the_filter_and_without_it(make, monkeypatch):
    records = {
        "1": make("m", 0, quality=3, training={"max_epochs": 1, "base_classes_sha256": "a"}),
        "0": make("m", 0, quality=1, training={"max_epochs": 2, "base_classes_sha256": "b"}),
    }
    asked = []

    def bench(request):
        asked.append(request)
        return ([records[request.filter]], []) if request.methods == ["m"] else ([], ["it fails"])

    monkeypatch.setattr(single_run, "bench", bench)
    page = filtering.compare_filters([["m", "--model.x=1"], ["n"], ["m=best.ckpt"]], options(extra=["--seed=3"]))
    assert [(r.filter, *r.extra) for r in asked[:2]] == [
        ("1", "--model.x=1", "--seed=3"),
        ("0", "--model.x=1", "--seed=3"),
    ]
    statistics = [
        records[choice].protocol.statistics(records[choice].episodes, records[choice].header) for choice in "10"
    ]
    with_filter, without = (estimates([one])["mIoU"].value for one in statistics)
    assert f"{with_filter - without:+.1f}" in page and f"{with_filter:.1f} [" in page and "others" in page
    assert "n: it fails" in page and "m=best.ckpt: expected a name without a checkpoint" in page


def test_what_is_not_trained_is_not_compared(make, monkeypatch):
    monkeypatch.setattr(single_run, "bench", lambda request: ([make("m", 0)], []))
    assert "m: is not trained" in filtering.compare_filters([["m"]], options())


def test_ablations_show_score_and_costs_and_are_drawn(make, tmp_path, monkeypatch, capsys):
    asked = []

    def bench(request):
        asked.append(request)
        return [make(f"v{len(asked)}", 0, quality=1 + len(asked) % 3)], []

    costs = {name: ablations.Costs(0.5 + place, 7, 0.25, 3) for place, name in enumerate(ablations.VARIANTS)}
    monkeypatch.setattr(ablations, "bench", bench)
    monkeypatch.setattr(ablations, "measure_costs", lambda requests, repeats: {name: costs[name] for name in requests})
    assert ablations.main(["--figure", str(tmp_path / "a.png"), "--", "--trainer.max_epochs=1"]) == 0
    said, first = capsys.readouterr().out, make("w", 0, quality=2)
    value = estimates([first.protocol.statistics(first.episodes, first.header)])["mIoU"].value
    assert all(name in said for name in ablations.VARIANTS) and f"| {value:.1f} [" in said
    assert "| 500 | 7 | 250 | 3 |" in said and "| 3500 | 7 | 250 | 3 |" in said
    files = [[text.rpartition("/")[2] for text in request.extra if text.startswith("--config")] for request in asked]
    assert files == [[], ["layers.yaml"], ["last_layer.yaml"], ["sequential.yaml"]]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_costs_are_of_each_variant_beyond_the_backbone(blocks_folder, tmp_path):
    """A step gives gradients, an episode an answer, and neither encodes an image once it was seen."""
    folder = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    small = [*folder, "--data.batch_size=2", "--data.episodes=1", "--data.validation_episodes=1"]
    last = f"--config={ablations.CONFIGS / 'ablations/emat/last_layer.yaml'}"
    requests = {
        name: Request(["emat"], "demo", [0], str(tmp_path), extra=[*small, *own])
        for name, own in {"whole": [], "last layer": [last]}.items()
    }
    found = ablations.measure_costs(requests, 1)
    assert list(found) == ["whole", "last layer"]
    assert all(cost.step_seconds > cost.episode_seconds > 0 for cost in found.values())


@pytest.mark.parametrize("file", [file for file in ablations.VARIANTS.values() if file])
def test_every_variant_has_its_file(file):
    assert (ablations.CONFIGS / "ablations" / "emat" / f"{file}.yaml").is_file()
