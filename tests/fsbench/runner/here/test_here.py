"""`fsbench list here`: what is here, what is absent, and what is wrong with it."""

import json
from types import SimpleNamespace

import pytest
import torch

from fsbench.cli.main import main
from fsbench.networks.weights.table import weight_files
from fsbench.runner.here import devices, machine
from fsbench.runner.here.files import list_data, list_weights


def by_name(findings):
    return {finding.name: finding for finding in findings}


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


def test_a_gpu_that_does_not_start_is_wrong(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    assert main(["list", "here"]) == 1
    shown = capsys.readouterr().out
    assert "failed      cuda:0: RuntimeError: no kernel image is available" in shown
    assert "→ free it, or update the driver" in shown


def fail(*given):
    raise RuntimeError("no kernel image is available\nfor this device")


def test_requirements_that_do_not_hold_are_named(monkeypatch):
    lines = ["torch>=99", "numpy>=1", "no-such-package", "also-none; extra == 'demo'", "never; python_version < '3'"]
    monkeypatch.setattr(machine.metadata, "requires", lambda package: lines)
    found = by_name(machine.list_software())["packages"]
    assert found.verdict == "failed"
    assert found.found == f"torch is {torch.__version__.split('+')[0]}, expected >=99; no-such-package is not installed"


def test_without_a_gpu_it_says_what_torch_is_built_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = by_name(devices.list_devices())["GPU"]
    assert found.verdict == "absent" and found.found == "torch sees none (torch is built for CUDA 13.0)"


def test_folders_without_room(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert by_name(machine.list_room(tmp_path / "new" / "runs"))["runs"].verdict == "ok"
    inside = by_name(machine.list_room(tmp_path / "file" / "runs"))["runs"]
    assert inside.verdict == "failed" and inside.found == f"{tmp_path / 'file'} is no folder"
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**8))
    found = by_name(machine.list_room(tmp_path))
    assert {finding.verdict for finding in found.values()} == {"failed"}
    assert "--shm-size" in found["shared memory"].advice or "shared memory" not in found


def test_data_sets_and_their_lists(tmp_path):
    (tmp_path / "pascal").mkdir()
    roots = {"pascal": str(tmp_path / "pascal"), "coco": str(tmp_path / "coco")}
    assert by_name(list_data(roots))["pascal"].verdict == "absent"  # an empty folder
    (tmp_path / "pascal" / "JPEGImages").mkdir()
    found = by_name(list_data(roots))
    assert "derived ones are taken" in found["pascal"].found and "--lists" in found["pascal"].advice
    assert found["coco"].verdict == "absent" and found["coco"].advice.startswith("fsbench data prepare coco --root")
    assert found["demo"].verdict == "ok"
    (tmp_path / "pascal" / "lists").mkdir()
    assert "with lists" in by_name(list_data(roots))["pascal"].found


def test_weights_of_the_wrong_size(monkeypatch, tmp_path):
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("fsbench.networks.weights.table._installed_file", lambda *_: None)  # a package may bring some
    assert [finding.verdict for finding in list_weights()] == ["absent"]
    name = next(name for name, file in weight_files().items() if file.size)
    file = weight_files()[name].path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"short")
    found = by_name(list_weights())
    assert found[name].verdict == "failed" and f"fsbench weights fetch {name}" in found[name].advice


def test_the_command_prints_a_table_or_json(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path))
    assert main(["list", "here"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "software:" and shown[-1].endswith("entries, none failed")
    (tmp_path / "runs").write_text("in the way")
    assert main(["list", "here", "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert [value["name"] for value in values if value["verdict"] == "failed"] == ["runs"]
    assert main(["list", "here", "--data-root", "coc=/x"]) == 2
    assert "did you mean 'coco'?" in capsys.readouterr().err
    assert main(["list", "here", "--data-root", "coco"]) == 2
    assert "expected DATASET=DIR" in capsys.readouterr().err
