"""The doctor finds what is wrong, and says that what it did not try was not tried."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fsbench.cli.main import main
from fsbench.networks.weights.table import weight_files
from fsbench.runner.doctor import devices, machine, ops, scans
from fsbench.runner.doctor.files import check_data, check_weights

CPU = torch.device("cpu")


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_every_op_agrees_with_its_definition_here():
    findings = ops.check_ops(CPU)
    assert len(findings) == 12
    for finding in findings:
        assert finding.verdict == "ok" and "float32" in finding.found and "not the same bits" not in finding.found


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_op_agrees_with_its_definition_on_each_gpu():
    for device in devices.devices()[1:]:
        for case, finding in zip(ops.op_cases(), ops.check_ops(device), strict=True):
            assert finding.verdict == "ok", finding
            assert all(str(dtype).removeprefix("torch.") in finding.found for dtype in case.dtypes)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_scan_that_loads_is_right_on_each_gpu_at_true_shapes():
    for device in devices.devices()[1:]:
        found = list(scans.check_scans(device))
        assert {finding.verdict for finding in found} <= {"ok", "absent"} and found[-1].verdict == "ok"


def test_scan_back_ends_that_load_are_told_from_those_that_do_not(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    found = by_name(scans.check_scans(CPU))
    verdicts = {name.split()[3]: finding.verdict for name, finding in found.items() if "back end" in name}
    assert verdicts == {"reference": "ok", "doubling": "ok", "torch": "ok", "triton": "absent", "mamba_ssm": "absent"}
    assert "needs CUDA tensors, found cpu" in found["scan back end mamba_ssm on cpu"].found
    assert found["scan at HMNet's true shapes on cpu"].verdict == "not checked"


def test_a_scan_that_is_wrong_or_breaks_is_found(monkeypatch):
    right = scans.selective_scan

    def wrong(*given, backend, **options):
        if given[0].dtype == torch.float32 and backend == "reference":
            raise RuntimeError("no kernel image is available")
        return right(*given, backend=backend, **options) * (1.01 if given[0].dtype == torch.float32 else 1)

    monkeypatch.setattr(scans, "selective_scan", wrong)
    found = by_name(scans.check_scans(CPU))
    assert found["scan back end reference on cpu"].verdict == "failed"
    assert found["scan back end torch on cpu"].found.startswith("off by 1.0e-02 of the largest number")


def test_errors_of_any_kind_are_findings(monkeypatch):
    """Those of Triton, which are no RuntimeErrors, and of a GPU that takes no tensors any more."""

    class CompilationError(Exception):
        pass

    def refuse(*given, **options):
        raise CompilationError("at 3:4")

    case = next(iter(ops.op_cases()))
    assert "CompilationError: at 3:4" in ops._check(replace(case, fast=refuse), CPU).found
    monkeypatch.setattr(scans, "selective_scan", refuse)
    found = by_name(scans.check_scans(CPU))
    assert found["scan back end torch on cpu"].verdict == "failed"
    monkeypatch.setattr(scans, "_arguments", fail)
    assert {f.verdict for f in scans.check_scans(CPU)} == {"failed", "not checked"}


def test_true_shapes_that_do_not_fit_are_not_checked(monkeypatch):
    def full(*given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scans, "_arguments", full)
    found = scans._check_true_shapes(torch.device("cuda:0"))
    assert found.verdict == "not checked" and "out of memory" in found.found


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.05  Release Build\n", "560.35.05"),
        ("something else\n", ""),
    ],
)
def test_the_driver_is_read_of_both_kernel_modules(monkeypatch, text, version):
    monkeypatch.setattr(devices.Path, "read_text", lambda path: text)
    assert devices.driver() == version


def test_a_gpu_that_does_not_start_is_not_tried_further(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    monkeypatch.setattr(ops, "op_cases", lambda: [])
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "failed      cuda:0: RuntimeError: no kernel image is available" in shown and "on cuda:0" not in shown


def fail(*given):
    raise RuntimeError("no kernel image is available\nfor this device")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda answer: answer * 1.01, "float32: off by 1.0e-02 of the largest number, at most 1e-04"),
        (lambda answer: answer * torch.nan, "off by inf"),
        (lambda answer: answer.detach() + 0 * answer.abs(), "float32: off by"),  # only its gradient is wrong
        (fail, "no kernel image is available"),
    ],
)
def test_an_op_that_is_wrong_is_found(spoil, words):
    case = next(iter(ops.op_cases()))
    finding = ops._check(replace(case, fast=lambda *given: spoil(case.fast(*given))), CPU)
    assert finding.verdict == "failed" and words in finding.found and "\n" not in finding.found
    assert "figures made here would be wrong" in finding.advice


def test_ops_are_checked_in_full_fp32_as_runs_calculate(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen = []
    monkeypatch.setattr(ops, "_check", lambda case, device: seen.append(torch.backends.cudnn.allow_tf32))
    ops.check_ops(CPU)
    assert set(seen) == {False} and torch.backends.cudnn.allow_tf32


def test_an_op_whose_bits_change_is_told():
    case, calls = next(iter(ops.op_cases())), iter(range(100))
    finding = ops._check(replace(case, fast=lambda *given: case.fast(*given) * (1 + 1e-6 * next(calls))), CPU)
    assert finding.verdict == "ok" and finding.found.endswith("not the same bits each time")


def test_requirements_that_do_not_hold_are_named(monkeypatch):
    lines = ["torch>=99", "numpy>=1", "no-such-package", "also-none; extra == 'demo'", "never; python_version < '3'"]
    monkeypatch.setattr(machine.metadata, "requires", lambda package: lines)
    found = by_name(machine.check_software())["packages"]
    assert found.verdict == "failed"
    assert found.found == f"torch is {torch.__version__.split('+')[0]}, expected >=99; no-such-package is not installed"


def test_without_a_gpu_it_says_what_was_not_tried(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = by_name(devices.check_devices())["GPU"]
    assert found.verdict == "not checked" and "HMNet's true shapes, a second GPU and NCCL were not tried" in found.found


def test_folders_without_room(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert by_name(machine.check_room(tmp_path / "new" / "runs"))["runs"].verdict == "ok"
    inside = by_name(machine.check_room(tmp_path / "file" / "runs"))["runs"]
    assert inside.verdict == "failed" and inside.found == f"{tmp_path / 'file'} is no folder"
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**8))
    found = by_name(machine.check_room(tmp_path))
    assert {finding.verdict for finding in found.values()} == {"failed"}
    assert "--shm-size" in found["shared memory"].advice or "shared memory" not in found


def test_data_sets_and_their_lists(tmp_path):
    (tmp_path / "pascal").mkdir()
    roots = {"pascal": str(tmp_path / "pascal"), "coco": str(tmp_path / "coco")}
    assert by_name(check_data(roots))["pascal"].verdict == "absent"  # an empty folder
    (tmp_path / "pascal" / "JPEGImages").mkdir()
    found = by_name(check_data(roots))
    assert "derived ones are taken" in found["pascal"].found and "--lists" in found["pascal"].advice
    assert found["coco"].verdict == "absent" and found["coco"].advice.startswith("fsbench data prepare coco --root")
    assert found["demo"].verdict == "ok"
    (tmp_path / "pascal" / "lists").mkdir()
    assert "with lists" in by_name(check_data(roots))["pascal"].found


def test_weights_of_the_wrong_size(monkeypatch, tmp_path):
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("fsbench.networks.weights.table._installed_file", lambda *_: None)  # a package may bring some
    assert [finding.verdict for finding in check_weights()] == ["absent"]
    name = next(name for name, file in weight_files().items() if file.size)
    file = weight_files()[name].path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"short")
    found = by_name(check_weights())
    assert found[name].verdict == "failed" and f"fsbench weights fetch {name}" in found[name].advice


def test_the_command_prints_a_table_or_json(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "software:" and shown[-1].endswith("checks, none failed")
    (tmp_path / "runs").write_text("in the way")
    assert main(["doctor", "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert [value["name"] for value in values if value["verdict"] == "failed"] == ["runs"]
    assert main(["doctor", "--data-root", "coc=/x"]) == 2
    assert "did you mean 'coco'?" in capsys.readouterr().err
    assert main(["doctor", "--data-root", "coco"]) == 2
    assert "expected DATASET=DIR" in capsys.readouterr().err
