"""The benchmark on a GPU runs on a CPU with tiny shapes, and says in one line what is missing for the true ones."""

import json
import sys
import time

import pytest
import torch

from benchmarks.speed.cases import emat
from benchmarks.speed.gpu import drive, worker
from benchmarks.speed.gpu import run as gpu
from benchmarks.speed.gpu.calls import GpuCall, attention_calls, gpu_calls
from benchmarks.speed.gpu.figures import OUT_OF_TIME, CudaTests, GpuFigures, Timing

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
    calls = list(gpu_calls(torch.device("cuda"), quick=False))
    paths = {part: {call.path for call in calls if call.part == part} for part in {call.part for call in calls}}
    assert paths["method"] == {"fp32", "tf32", "bf16", "fp32, deterministic: warn"}
    assert {"triton", "torch", "mamba_ssm", "triton, bfloat16"} <= paths["scan"]
    assert {"fused", "packed", "chunked", "reference"} <= paths["attention"] and paths["compile"] == {
        "eager",
        "compiled",
    }
    methods = {call.what.split(",")[0] for call in calls if call.part == "method"}
    assert methods == {"prototype", "emat", "cst", "dcama", "hsnet", "hmnet"}
    assert len(set(calls)) == len({(call.what, call.path) for call in calls}) == len(calls)


def test_settings_of_torch_hold_for_a_call_alone():
    before = torch.backends.cuda.matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()
    with GpuCall("part", "what", "path", lambda: print, "tf32", deterministic=True).settings():
        assert torch.backends.cuda.matmul.allow_tf32 and torch.is_deterministic_algorithms_warn_only_enabled()
    call = GpuCall("part", "what", "path", lambda: lambda: torch.is_autocast_enabled("cpu"), "bf16").prepared(CPU)
    assert call() is True and not torch.is_autocast_enabled("cpu")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.are_deterministic_algorithms_enabled()) == before


def test_a_broken_path_of_the_attention_costs_no_other(monkeypatch):
    attention = emat.masked_attention

    def broken_attention(*arguments):
        return broken() if arguments[-1] == "fused" else attention(*arguments)

    monkeypatch.setattr(emat, "masked_attention", broken_attention)
    calls = [call for call in attention_calls(CPU, quick=True) if call.what.startswith("masked attention")]
    for call in calls:
        if call.path == "fused":
            with pytest.raises(RuntimeError, match="no kernel image"):
                call.make()()
        else:
            call.make()()
    assert {call.path for call in calls} == set(emat.PATHS)


def label(what, path="torch"):
    return GpuCall("scan", what, path, lambda: lambda: 1)


def broken():
    raise RuntimeError("no kernel image is available")


def test_a_worker_names_what_fails_and_what_comes_too_late(monkeypatch):
    calls = [label("one"), GpuCall("scan", "two", "torch", broken), label("three")]
    monkeypatch.setattr(worker, "gpu_calls", lambda device, quick: calls)
    lines = list(worker.measure_calls(CPU, True, 0, 600))
    assert [line.get("begin", line.get("done")) for line in lines] == [0, 0, 1, 1, 2, 2]
    assert lines[1]["seconds"] == lines[1]["times"][0] >= 0 and lines[1]["peak_mib"] >= 0
    assert lines[3] == {"done": 1, "problem": "RuntimeError: no kernel image is available"}
    late = list(worker.measure_calls(CPU, True, 1, -1))
    assert late == [{"done": 1, "problem": OUT_OF_TIME}, {"done": 2, "problem": OUT_OF_TIME}]


def test_a_worker_ends_after_a_call_that_broke_the_gpu(monkeypatch):
    monkeypatch.setattr(worker, "gpu_calls", lambda device, quick: [label("one"), label("two")])
    monkeypatch.setattr(worker, "_clean", lambda device: False)
    lines = worker.measure_calls(CPU, True, 0, 600)
    assert next(lines) == {"begin": 0} and "seconds" in next(lines)
    with pytest.raises(SystemExit) as ended:
        next(lines)
    assert ended.value.code == worker.BROKEN


WORKER = """
import json, os, sys, time
first = int(sys.argv[sys.argv.index("--first") + 1])
for number, deed in list(enumerate(os.environ["DEEDS"].split()))[first:]:
    if deed == "never":
        sys.exit(1)
    print(json.dumps({"begin": number}), flush=True)
    if deed == "dies":
        os.abort()
    if deed == "hangs":
        time.sleep(600)
    print(json.dumps({"done": number, "seconds": 0.5, "times": [0.5], "peak_mib": 1.0}), flush=True)
    if deed == "breaks":
        sys.exit(3)
"""


@pytest.fixture
def drive_deeds(monkeypatch):
    """Return a function that measures one call for each word with stand-ins of workers, which do what it says."""

    def run(deeds, seconds=600):
        monkeypatch.setenv("DEEDS", deeds)
        monkeypatch.setattr(
            drive, "gpu_calls", lambda device, quick: [label(str(n)) for n in range(len(deeds.split()))]
        )
        command = (sys.executable, "-c", WORKER)
        return list(drive.time_calls(CPU, True, time.monotonic() + seconds, command))

    return run


def test_a_call_that_ends_the_process_costs_no_other(drive_deeds):
    found = drive_deeds("works dies breaks dies works")
    assert [timing.what for timing in found] == ["0", "1", "2", "3", "4"]
    ended = "the process was ended by SIGABRT"
    assert [timing.problem for timing in found] == ["", ended, "", ended, ""]
    assert [timing.seconds for timing in found] == [0.5, None, 0.5, None, 0.5]
    assert [timing.failed for timing in found] == [False, True, False, True, False]


def test_a_call_that_hangs_is_given_up(drive_deeds, monkeypatch):
    monkeypatch.setattr(drive, "CALL_SECONDS", 0.2)
    (found,) = drive_deeds("hangs")
    assert found.problem == "given up after 0 s" and found.failed


def test_workers_that_cannot_begin_are_not_started_again(drive_deeds):
    found = drive_deeds("works dies never works")
    problem = "the process ended with status 1"
    assert [timing.problem for timing in found] == ["", "the process was ended by SIGABRT", problem, problem]
    assert [timing.problem for timing in drive_deeds("works works", seconds=0)] == [OUT_OF_TIME] * 2


def test_tests_that_were_done_are_read_although_pytest_was_stopped():
    text = "tests/a.py::test_one[small chunks] PASSED  [ 50%]\ntests/a.py::test_two FAILED\ntests/b.py::test_three \n"
    assert drive.OUTCOME.findall(text) == [
        ("tests/a.py::test_one[small chunks]", "PASSED"),
        ("tests/a.py::test_two", "FAILED"),
    ]


@pytest.mark.parametrize(
    ("problem", "status", "exit_status"),
    [
        ("", 0, 0),
        ("", 5, 0),  # no such test here
        ("", 1, 1),
        ("RuntimeError: no kernel image is available", 0, 1),
        (OUT_OF_TIME, 0, 0),
        ("SettingsError: the scan back end mamba_ssm cannot be imported (No module named 'mamba_ssm')", 0, 0),
    ],
)
def test_the_file_and_the_exit_status_say_what_failed(monkeypatch, tmp_path, problem, status, exit_status):
    timing = Timing(part="scan", what="one", path="torch", precision="fp32", deterministic=False, problem=problem)
    monkeypatch.setattr(gpu, "time_calls", lambda device, quick, deadline: [timing])
    outcome = CudaTests(status=status, summary="3 passed", failures=[])
    monkeypatch.setattr(gpu, "run_tests", lambda paths, seconds: outcome)
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == exit_status
    (path,) = tmp_path.iterdir()
    found = GpuFigures(**json.loads(path.read_text()))
    assert found.timings == [timing] and found.tests == outcome and found.kind == "cpu"


def test_a_device_without_a_number_is_the_first_gpu():
    """`torch.cuda.set_device` refuses it."""
    assert [str(gpu.numbered(torch.device(name))) for name in ("cuda", "cuda:1", "cpu")] == ["cuda:0", "cuda:1", "cpu"]


@pytest.mark.slow(40)
def test_every_quick_call_gives_figures_on_a_cpu(tmp_path):
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    found = GpuFigures(**json.loads(path.read_text()))
    assert path.name.endswith("-quick.json") and found.quick and found.kind == "cpu" and found.versions["torch"]
    assert found.tests.status == 0 and "deselected" in found.tests.summary
    assert {timing.part for timing in found.timings} == {"scan", "attention", "compile", "method"}
    assert all(timing.times and not timing.problem for timing in found.timings)
