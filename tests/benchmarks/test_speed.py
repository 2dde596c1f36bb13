"""The benchmarks run and compare what they time."""

import json
import re
import subprocess
import sys

import pytest
import torch

from benchmarks.speed import emat, hsnet, hsnet_process, training_free
from benchmarks.speed.measure import Cost
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.config.build import parse
from fsbench.paths import REPOSITORY
from methods.hsnet import HSNet
from tests.methods.modules.small import SMALL, backbone


def test_dcamas_paths_are_compared_and_timed():
    command = [sys.executable, "-m", "benchmarks.speed.dcama", "--device", "cpu", "--side", "32", "--shots", "1,2"]
    done = subprocess.run(
        [*command, "--backbone", "swin_base"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[2:]
    assert [line.split()[1] for line in lines] == ["1"] * 4 + ["2"] * 2
    assert all(re.search(r"s +\d+ MiB .* \d+\.\dx", line) for line in lines)
    assert all(float(line.split()[-1]) < 1e-4 for line in lines)


@pytest.mark.slow
def test_emats_ways_are_compared_and_timed(monkeypatch, capsys):
    arguments = ["emat", "--device", "cpu", "--ways", "1,2", "--query-side", "4", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    emat.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert all(re.fullmatch(r" +\d(  +\d+\.\d{3} s +\d+ MiB){2}  \d+\.\d\dx", line) for line in lines)


@pytest.mark.slow
def test_emats_whole_episode_runs_to_its_end(capsys):
    emat.run_episode(2, torch.device("cpu"), size=28)
    assert re.search(r"2-way 1-shot, 28 pixels: .* MiB, label map \(375, 500\), \d ways", capsys.readouterr().out)


def test_hsnets_paths_are_compared_and_timed():
    command = [sys.executable, "-m", "benchmarks.speed.hsnet", "--device", "cpu", "--side", "32", "--kept", "0.25"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[2:]
    assert [line.split()[2] for line in lines] == ["correlation", "head", "training"]
    assert all(re.search(r"s +\d+ MiB .* \d+\.\dx", line) for line in lines)
    assert all(float(line.split()[-1]) < 1e-3 for line in lines)


def test_hsnets_plain_formulas_give_its_logits(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    torch.manual_seed(0)
    method = HSNet(backbone(), width=32).eval()
    query, support = (
        [torch.randn(2, blocks, 8, side, side) for blocks, side in zip(SMALL.blocks[1:], (9, 5, 3), strict=True)]
        for _ in range(2)
    )
    masks = torch.zeros(2, 33, 33)
    masks[0, 9:20, 3:14] = 1
    with torch.inference_mode():
        found = method.logits(query, [scale[:, None] for scale in support], masks[:, None], torch.arange(2))
        with hsnet.plain_formulas():
            plain = method.logits(query, [scale[:, None] for scale in support], masks[:, None], torch.arange(2))
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_whole_evaluations_of_hsnet_are_measured_in_turns(monkeypatch, tmp_path, capsys):
    """The processes themselves take a minute; their arguments are those of `fsbench run`."""
    calls = []

    def measure_process(words):
        calls.append(words)
        return Cost(len(calls), 100.0 * len(calls), (len(calls),))

    monkeypatch.setattr(hsnet_process, "measure_process", measure_process)
    monkeypatch.setattr(sys, "argv", ["hsnet_process", "--repeats", "2", "--json", str(tmp_path / "x.json")])
    hsnet_process.main()
    assert [words[0] for words in calls] == ["ours", *["plain", "ours"] * 2, "nothing"]
    assert "--model.backbone.cache_mib=0" in calls[1] and "--model.backbone.cache_mib=128" in calls[2]
    data = parse([word for word in calls[2][2:] if "checkpoint" not in word], build=False).config.data.init_args
    assert (data.image_size, data.episodes) == (400, 5)
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert [(row["path"], row["times"], row["peak_mib"]) for row in rows] == [
        ("plain", [2, 4], 400), ("ours", [3, 5], 500), ("ours", [6], 600),
    ]  # fmt: skip
    assert "building the method alone: 6.00 s  600 MiB" in capsys.readouterr().out


def test_steps_of_training_free_methods_are_compared_and_timed(monkeypatch, capsys):
    arguments = ["training_free", "--device", "cpu", "--tokens", "64,128", "--channels", "16", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    training_free.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[1] for line in lines] == ["k-means", "clusters"] * 2
    assert all(re.fullmatch(r" +\d+ [-\w]+ +( +\d+\.\d{3} s){2} +\d+\.\dx  True", line) for line in lines)
