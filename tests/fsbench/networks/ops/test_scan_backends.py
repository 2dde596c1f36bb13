"""The choice of a selective scan's back end, arguments that do not fit it, and kernels that compile for GPUs."""

import os
import subprocess
import sys
import types

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan._backends import choose_backend
from tests.conftest import needs_triton
from tests.fsbench.networks.ops.scan_inputs import inputs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"delta": torch.zeros(2, 6, 36)}, r"delta is \(2, 6, 36\), expected \(2, 6, 37\)"),
        ({"A": torch.zeros(6, 3, dtype=torch.complex64)}, "A is .* expected real"),
        ({"B": torch.zeros(2, 4, 3, 37)}, r"B is \(2, 4, 3, 37\), expected \(2, G, 3, 37\) with G a divisor of 6"),
        ({"C": torch.zeros(2, 2, 3, 37).half()}, "C is torch.float16, expected the dtype of u"),
        ({"C": torch.zeros(2, 3, 3, 37)}, "B has 2 groups and C 3"),
        ({"initial_state": torch.zeros(2, 6)}, r"initial_state is \(2, 6\), expected \(2, 6, 3\)"),
        ({"u": torch.zeros(2, 6, 0)}, "without empty dimensions"),
        ({"u": torch.zeros(2, 6, 37, dtype=torch.int64)}, "u is .* torch.int64, expected real"),
        ({"B": torch.zeros(2, 0, 3, 37)}, r"B is \(2, 0, 3, 37\), expected \(2, G, 3, 37\)"),
        ({"D": torch.zeros(6, dtype=torch.complex64)}, "D is torch.complex64 on cpu, expected real numbers on cpu"),
        ({"delta_bias": torch.zeros(6, device="meta")}, "delta_bias is torch.float32 on meta, expected real"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, words):
    with pytest.raises(SettingsError, match=words):
        selective_scan(**inputs() | change)


def test_the_environment_chooses_the_back_end(monkeypatch):
    monkeypatch.setenv("FSBENCH_SCAN", "cuda")
    with pytest.raises(SettingsError, match=r"unknown .* back end 'cuda'; there are: reference, doubling, torch"):
        selective_scan(**inputs())
    monkeypatch.setenv("FSBENCH_SCAN", "mamba_ssm")
    with pytest.raises(SettingsError, match="mamba_ssm needs CUDA tensors, found cpu"):
        selective_scan(**inputs())


def test_the_automatic_choice(monkeypatch):
    """mamba-ssm where it is installed and has what a call needs; Triton on other CUDA machines; torch elsewhere."""
    packages = {"triton", "mamba_ssm"}
    place = "fsbench.networks.ops.selective_scan"
    monkeypatch.setattr(f"{place}._backends._is_installed", lambda name: name in packages)
    monkeypatch.setattr(f"{place}._mamba_ssm.is_usable", lambda: "mamba_ssm" in packages)
    monkeypatch.delenv("FSBENCH_SCAN", raising=False)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    cuda = types.SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)
    assert choose_backend(torch.zeros(1), stateless=True) == "torch"
    assert choose_backend(types.SimpleNamespace(is_cuda=True, dtype=torch.float64), stateless=True) == "torch"
    assert choose_backend(cuda, stateless=True) == "mamba_ssm" and choose_backend(cuda) == "triton"
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert choose_backend(cuda, stateless=True) == "triton"  # whose sums have an order
    with torch.no_grad():
        assert choose_backend(cuda, stateless=True) == "mamba_ssm"
    monkeypatch.setattr(torch, "is_deterministic_algorithms_warn_only_enabled", lambda: True)
    with pytest.warns(UserWarning, match="^mamba_ssm_selective_scan does not have a deterministic implementation"):
        assert choose_backend(cuda, stateless=True) == "mamba_ssm"  # training by default
    packages.remove("mamba_ssm")  # or without its kernel
    with torch.no_grad():
        assert choose_backend(cuda, stateless=True) == "triton"
    packages.clear()
    assert choose_backend(cuda) == "torch"
    with pytest.raises(SettingsError, match="triton needs the package triton, which is not installed; choose torch"):
        choose_backend(cuda, "triton")
    packages.add("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(SettingsError, match="triton needs CUDA tensors, found cpu; choose torch"):
        choose_backend(torch.zeros(1), "triton")


@pytest.mark.parametrize("backend", ["triton", "mamba_ssm"])
def test_kernels_refuse_double_precision(monkeypatch, backend):
    monkeypatch.setattr("fsbench.networks.ops.selective_scan._backends._is_installed", lambda name: True)
    with pytest.raises(SettingsError, match=f"{backend} computes in fp32, found float64; choose torch"):
        choose_backend(types.SimpleNamespace(is_cuda=True, dtype=torch.float64), backend)


@needs_triton
@pytest.mark.slow
def test_kernels_compile_for_gpus_within_their_limits():
    """Ahead of time, in a process without the interpreter; no GPU is needed."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.fsbench.networks.ops.ahead_of_time"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "ImportError" in done.stderr:
        pytest.skip(f"this Triton has no such compiler interface: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    shared = {tuple(line.split()[:2]): int(line.split()[2]) for line in done.stdout.splitlines()}
    assert {name for name, _ in shared} == {"ends", "chain", "scan", "backward", "read", "read_backward"}
    assert max(shared.values()) <= 99 * 1024
