"""The benchmarks run and compare what they time."""

import re
import subprocess
import sys

import pytest
import torch

from benchmarks.speed import emat
from fsbench.paths import REPOSITORY


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
