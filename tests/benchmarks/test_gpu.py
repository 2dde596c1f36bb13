"""The check on a GPU runs at small sizes on a CPU, and what fails in it costs one row."""

import json
import os
import time

import pytest
import torch

from benchmarks.gpu import __main__ as gpu_check
from benchmarks.gpu import figures, methods, runs
from benchmarks.gpu.figures import Figures
from fsbench.base.paths import REPOSITORY

CPU = torch.device("cpu")


def test_a_machine_without_a_gpu_is_told_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and "torch sees no GPU" in shown.err


@pytest.mark.slow(5)
def test_operators_and_a_method_are_near_their_references_on_a_cpu(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # which takes seconds a kernel
    monkeypatch.setattr(methods, "METHODS", ("hsnet",))
    monkeypatch.setattr(figures, "CALLS", 1)
    out = tmp_path / "gpu.json"
    assert gpu_check.main(["--cpu", "--parts", "1,2,3", "--seconds", "600", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert "no figures of a GPU" in found["machine"]["device"] and "0 failed" in capsys.readouterr().out
    rows = found["rows"]
    assert {row["part"] for row in rows} == {1, 2, 3} and not any(row["problem"] for row in rows)
    assert all(row["figures"]["error"] is not None and row["figures"]["seconds"] for row in rows)
    whats = " ".join(row["what"] for row in rows)
    words = "selective", "recapped", "interception", "convolution", "kept", "masked", "mask-value", "hsnet, answer"
    assert all(word in whats for word in words)


def broken():
    raise RuntimeError("no kernel image is available\nfor this device")


def test_what_fails_costs_one_row(monkeypatch, tmp_path, capsys):
    def part(device, small, deadline):
        yield "scan", "torch", lambda: Figures(1e-6, 1e-4, 0.5, 10.0)
        yield "scan", "triton", lambda: Figures(1e-6, 1e-4, 0.25)
        yield "scan", "broken", broken
        yield "scan", "absent", lambda: __import__("mamba_of_nobody")
        yield "scan", "far", lambda: Figures(1e-3, 1e-4, 0.5)
        yield "scan", "not a number", lambda: Figures(float("nan"), 1e-4, 0.5)
        broken()

    monkeypatch.setattr(gpu_check, "PARTS", {1: ("scans", 1, part)})
    out = tmp_path / "gpu.json"
    assert gpu_check.main(["--cpu", "--parts", "1", "--out", str(out)]) == 1
    shown = capsys.readouterr().out
    assert "| scan | triton | 1.0e-06 | 1e-04 | 250 ms (2.00x) |" in shown and "7 rows, 4 failed" in shown
    assert shown.count("TOO FAR") == 4  # two rows, as they come and in the table
    rows = {row["path"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["broken"]["problem"] == "RuntimeError: no kernel image is available"
    assert "in broken" in rows["broken"]["traceback"] and "in broken" in rows["all that follow"]["traceback"]
    assert rows["absent"]["problem"].startswith("skipped: No module named") and not rows["absent"]["traceback"]


def test_a_part_whose_time_is_up_says_so(monkeypatch):
    monkeypatch.setattr(gpu_check, "PARTS", {1: ("scans", 1, lambda *_: iter([("scan", "torch", broken)]))})
    (row,) = gpu_check.check(1, CPU, True, time.monotonic() - 1)
    assert row.problem == "skipped: the time of this part was up" and not row.failed


def test_differing_counts_of_runs_are_numbered(monkeypatch):
    called = []

    def run(self, name, accelerator, methods, options=(), processes=1):
        called.append((name, accelerator, processes))
        return 2.0

    monkeypatch.setattr(runs.Bench, "run", run)
    monkeypatch.setattr(runs.Bench, "_counts", lambda self, name, method: [(1, 2), (3, len(name))])
    rows = {path: call for _, path, call in runs.runs(CPU, True, time.monotonic() + 60)}
    found = rows["two processes, gloo"]()
    assert found.note == "prototype: 1 of 2 rows of counts differ from the CPU's" and not found.near
    assert called == [("gloo", "cpu", 2)]


@pytest.mark.slow(80)
def test_runs_of_bench_give_the_same_counts_on_a_cpu(warm_process, monkeypatch, tmp_path):
    """Those of one process are forks, which start at once; two processes are programs of their own."""
    in_programs = runs.Bench.run

    def run(self, name, accelerator, methods, options=(), processes=1):
        if processes > 1:
            return in_programs(self, name, accelerator, methods, list(options), processes)
        done = warm_process.call([*self.words(name, accelerator, methods), *options], REPOSITORY, os.environ)
        assert done.returncode == 0, done.stderr
        return 1.0

    monkeypatch.setattr(runs.Bench, "run", run)
    out = tmp_path / "gpu.json"
    assert gpu_check.main(["--cpu", "--parts", "4", "--seconds", "1200", "--out", str(out)]) == 0
    notes = [row["figures"]["note"] for row in json.loads(out.read_text())["rows"]]
    assert len(notes) == 4 and all("0 of" in note for note in notes[1:])
