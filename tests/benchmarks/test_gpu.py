"""The benchmark on a GPU runs on a CPU with tiny shapes, and says in one line what is missing for the true ones."""

import json
import time

import pytest
import torch

from benchmarks.speed import gpu
from benchmarks.speed.harness import Case, Measurements, Row

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "torch sees no GPU (it is built "),
        (["--device", "cpu"], "expected --device cuda, or --device cpu --quick"),
        (["--device", "meta"], "--device is meta, expected cuda, cuda:1 … or cpu"),
    ],
)
def test_a_machine_without_the_device_is_told_so_in_one_line(monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and words in shown.err


def test_a_gpu_that_is_not_there_is_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert gpu.absent_device(torch.device("cuda:1"), False) is None
    assert (
        gpu.absent_device(torch.device("cuda:2"), False) == "--device is cuda:2, but there are 2 GPUs, counted from 0"
    )


def test_true_shapes_name_every_method_back_end_and_precision():
    cases = list(gpu.gpu_cases(torch.device("cuda"), quick=False))
    paths = {word: {path for case in cases if word in case.what for path in case.paths} for word in
             ("scan", "EMAT's masked attention", "DCAMA's attention", "frozen network", "episode")}  # fmt: skip
    assert paths["episode"] == {"fp32", "tf32", "bf16", "fp32, deterministic: warn"}
    assert {"triton, float32", "torch, float32", "mamba_ssm, float32", "triton, bfloat16"} <= paths["scan"]
    assert paths["EMAT's masked attention"] == {"reference", "packed", "fused"}
    assert paths["DCAMA's attention"] == {"reference", "chunked", "fused"}
    assert paths["frozen network"] == {"eager", "compiled"}
    steps = {case.what.split(",")[0] for case in cases if "training step, 1-way" in case.what}
    assert steps == {"emat", "cst", "dcama", "hsnet", "hmnet"}
    assert len({case.what for case in cases}) == len(cases)


def test_settings_of_torch_hold_for_a_call_alone(monkeypatch):
    seen = []
    matmul = torch.backends.cuda.matmul

    def method_call(*arguments):
        return lambda: seen.append(
            (matmul.allow_tf32, torch.is_autocast_enabled("cpu"), torch.are_deterministic_algorithms_enabled())
        )

    monkeypatch.setattr(gpu, "method_call", method_call)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    for path in next(gpu.method_cases(CPU, quick=True)).paths.values():
        path()
    assert seen == [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]
    assert not matmul.allow_tf32 and not torch.are_deterministic_algorithms_enabled()


def broken():
    raise RuntimeError("no kernel image is available")


def test_a_path_that_cannot_be_built_or_fails_costs_no_other():
    built = []

    def make(path):
        built.append(path)
        return broken() if path == "two" else lambda: 1

    paths = {path: gpu._at_first_call(make, path) for path in ("one", "two")} | {"three": broken, "four": lambda: 1}
    rows = list(gpu.time_cases(iter([Case("scan", paths)]), CPU, False, time.monotonic() + 600))
    problem = "RuntimeError: no kernel image is available"
    assert [(row.path, row.problem) for row in rows] == [
        ("one", ""),
        ("two", problem),
        ("three", problem),
        ("four", ""),
    ]
    assert len(rows[0].times) == 3 and rows[0].peak_mib >= 0 and built == ["one", "two"]
    late = list(gpu.time_cases(iter([Case("scan", paths)]), CPU, True, time.monotonic() - 1))
    assert {row.problem for row in late} == {gpu.OUT_OF_TIME} and len(late) == 4


@pytest.mark.parametrize(
    ("problem", "status", "exit_status"),
    [
        ("", 0, 0),
        ("", 5, 0),  # no such test here
        ("", 1, 1),
        ("", 124, 1),
        ("RuntimeError: no kernel image is available", 0, 1),
        (gpu.OUT_OF_TIME, 0, 0),
        ("SettingsError: the scan back end mamba_ssm cannot be imported (No module named 'mamba_ssm')", 0, 0),
    ],
)
def test_the_file_and_the_exit_status_say_what_failed(monkeypatch, tmp_path, problem, status, exit_status):
    row = Row(what="one", path="torch", times=[] if problem else [1.0], peak_mib=1.0, problem=problem)
    monkeypatch.setattr(gpu, "time_cases", lambda cases, device, quick, deadline: [row])
    monkeypatch.setattr(gpu, "run_tests", lambda paths, seconds: (status, "3 passed"))
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == exit_status
    (path,) = tmp_path.iterdir()
    found = Measurements(**json.loads(path.read_text()))
    assert found.rows == [row] and found.opponent.endswith("CUDA tests: 3 passed")


@pytest.mark.slow(3)
def test_tests_that_fail_are_named(tmp_path):
    (tmp_path / "test_one.py").write_text("import pytest\n\n@pytest.mark.cuda\ndef test_a():\n    assert 1 == 2\n")
    status, words = gpu.run_tests((str(tmp_path),), 100)
    assert status == 1 and "test_one.py::test_a" in words and "1 failed" in words
    assert gpu.run_tests((str(tmp_path),), 0.01) == (124, "not done after 0 s")


@pytest.mark.slow(40)
def test_every_quick_path_gives_figures_on_a_cpu(tmp_path):
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    found = Measurements(**json.loads(path.read_text()))
    assert path.name.endswith("-quick.json") and found.versions["torch"] and "deselected" in found.opponent
    assert all(row.times and not row.problem for row in found.rows) and len(found.rows) > 30
