"""`fsbench list here`: the verdict on what was asked for, what lacks with the command that brings it, and the rest."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main
from fsbench.networks.weights.table import weight_files
from fsbench.runner import here


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """A machine with nothing but the packages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", "weights")
    monkeypatch.setattr("fsbench.networks.weights.table._installed_file", lambda *_: None)  # a package may bring some
    monkeypatch.setattr(here, "driver", lambda: "")


DATA = ["data pascal: not in data/pascal", "fsbench data prepare pascal --root data/pascal"]
WEIGHTS = ["weights dinov2_vits14: not in weights/dinov2_vits14_pretrain.pth", "fsbench weights fetch dinov2_vits14"]
SLOW = ["note: no GPU was found, and training on the CPU takes days"]


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ("emat demo", ["ready: emat demo"]),
        ("emat cst pascal", ["not ready: emat cst pascal lacks 2 things", *DATA, *WEIGHTS, *SLOW]),
        ("emat", ["not ready: emat lacks 1 thing", *WEIGHTS]),
        ("dinov2_vits14", ["not ready: dinov2_vits14 lacks 1 thing", *WEIGHTS]),
        ("pascal", ["not ready: pascal lacks 1 thing", *DATA, *SLOW]),
        ("emat demo dinov2_vits14", ["not ready: emat demo dinov2_vits14 lacks 1 thing", *WEIGHTS]),
        ("protonet demo-cls", ["ready: protonet demo-cls"]),
    ],
)
def test_the_verdict_on_what_was_asked_for(capsys, asked, lines):
    assert main(["list", "here", *asked.split()]) == int("not ready" in lines[0])
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == lines


def test_data_sets_with_and_without_lists(tmp_path, capsys):
    root = tmp_path / "voc"
    (root / "JPEGImages").mkdir(parents=True)
    assert main(["list", "here", "prototype", "pascal", "demo", "--data-root", f"pascal={root}", "--json"]) == 1
    assert [one["thing"] for one in json.loads(capsys.readouterr().out)["asked"]] == ["weights dinov2_vits14"]

    def pascal():
        return next(finding for finding in here.data({"pascal": str(root)}) if finding.thing == "data pascal")

    assert "derived ones are taken" in pascal().found and f"prepare pascal --root {root}" in pascal().advice
    (root / "lists").mkdir()
    assert pascal().found == f"{root}, with lists"


def test_a_method_s_packages(monkeypatch, capsys):
    monkeypatch.setattr(here.metadata, "requires", lambda package: ["no-such-package; extra == 'lora'"])
    assert main(["list", "here", "lora", "demo-cls"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "not ready: lora demo-cls lacks 1 thing",
        "  packages of lora: no-such-package is not installed",
        "    pip install 'fsbench[lora]'",
    ]
    assert main(["list", "here", "ft", "demo-cls"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["emta"], "did you mean 'emat'?"),
        (["protonet", "pascal"], "protonet is a method of classification, and pascal a data set for segmentation"),
        (["--data-root", "coc=/x"], "did you mean 'coco'?"),
        (["--data-root", "coco"], "expected DATASET=DIR"),
    ],
)
def test_bad_input_is_one_line(capsys, words, message):
    assert main(["list", "here", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_this_machine_in_short_and_in_full(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert main(["list", "here"]) == 0
    short = capsys.readouterr().out.splitlines()
    assert short[0] == "ready: the demo" and len(short) == 5
    assert short[1] == "  data: demo, demo-cls; 36 absent (fsbench list here NAME says how to get one)"
    assert main(["list", "here", "--all"]) == 0
    full = capsys.readouterr().out
    assert "  absent  GPU: torch sees none (it is built for CUDA 13.0)\n" in full and "make cuda" not in full
    (tmp_path / "runs").write_text("in the way")
    assert main(["list", "here"]) == 1
    assert capsys.readouterr().out.startswith(
        "not ready: this machine lacks 1 thing\n  folder runs: cannot write to runs (File exists); expected a folder"
    )


@pytest.mark.slow(2)
def test_the_verdict_needs_no_torch():
    code = (
        "import sys; from fsbench.cli.main import main; "
        "main(['list', 'here', 'emat', 'demo']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_what_is_wrong_with_the_machine(monkeypatch, tmp_path):
    lines = ["torch>=99", "numpy>=1", "no-such-package", "also-none; extra == 'demo'", "never; python_version < '3'"]
    monkeypatch.setattr(here.metadata, "requires", lambda package: lines)
    monkeypatch.setattr(here.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**8))
    monkeypatch.setenv("RANK", "first")
    name = next(name for name, file in weight_files().items() if file.size)
    file = weight_files()[name].path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"short")
    everything = {finding.thing: finding for finding in here.machine(tmp_path)}
    found = {thing: finding for thing, finding in everything.items() if finding.verdict == "failed"}
    version = torch.__version__.split("+")[0]
    assert found["packages"].found == f"torch is {version}, expected >=99; no-such-package is not installed"
    assert "RANK is 'first'" in found["environment"].found
    assert "make room" in found["folder runs"].advice
    for thing, advice in (("shared memory", "--shm-size"), ("folder cache", "make room")):  # runs do without it
        assert everything[thing].verdict == "absent" and advice in everything[thing].advice
    assert f"fsbench weights fetch {name}" in found[f"weights {name}"].advice


def test_a_gpu_that_does_not_start_is_wrong(monkeypatch, capsys):
    def fail(*given):
        raise RuntimeError("no kernel image is available\nfor this device")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    assert main(["list", "here", "--all"]) == 1
    shown = capsys.readouterr().out
    assert "cuda:0: RuntimeError: no kernel image is available" in shown and "free it, or update the driver" in shown


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.05  Release Build\n", "560.35.05"),
        ("something else\n", ""),
    ],
)
def test_the_driver_is_read_of_both_kernel_modules(monkeypatch, text, version):
    monkeypatch.undo()
    monkeypatch.setattr(here.Path, "read_text", lambda path: text)
    assert here.driver() == version
