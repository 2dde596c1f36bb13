"""Triton kernels run on the device of their tensors, whichever device is current."""

from types import SimpleNamespace

import pytest
import torch

from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan.interception import intercept
from tests.conftest import DEVICE, needs_triton
from tests.fsbench.networks.ops.scan_inputs import inputs, run
from tests.fsbench.networks.ops.test_recapped_scan import intercept_inputs, outcome


class Devices:
    """A stand-in for torch's current device, and for a kernel that runs there."""

    def __init__(self, monkeypatch):
        self.current = torch.device("cuda:0")
        self.launches = []
        monkeypatch.setattr(torch.cuda, "device", self.guard)

    def guard(self, device):
        devices = self

        class Guard:
            def __enter__(self):
                self.before, devices.current = devices.current, device

            def __exit__(self, *_):
                devices.current = self.before

        return Guard()

    def __getitem__(self, grid):
        return lambda *arguments, **constants: self.launches.append((self.current, grid, arguments, constants))


@pytest.mark.parametrize(("place", "expected"), [("cuda:1", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cuda:0")])
def test_the_device_of_the_first_argument_is_current_while_a_kernel_is_launched(monkeypatch, place, expected):
    _triton = pytest.importorskip("fsbench.networks.ops.selective_scan._triton")
    devices = Devices(monkeypatch)
    device = torch.device(place)
    tensor = SimpleNamespace(device=device, is_cuda=device.type == "cuda")
    _triton.launch(devices, (2, 3), tensor, 5, BD=16)
    assert devices.launches == [(torch.device(expected), (2, 3), (tensor, 5), {"BD": 16})]
    assert devices.current == torch.device("cuda:0")


@needs_triton
def test_every_kernel_is_launched_so(monkeypatch):
    """All kernels of a forward and a backward pass."""
    # needs Triton, which is optional
    from fsbench.networks.ops.selective_scan import _triton

    launched, launch = [], _triton.launch

    def noted(kernel, *arguments, **constants):
        launched.append(kernel.__name__)
        launch(kernel, *arguments, **constants)

    monkeypatch.setattr(_triton, "launch", noted)
    run(inputs(b=1, d=2, length=3, n=1, groups=1), "triton", DEVICE)
    assert launched == ["ends", "chain", "scan", "ends", "chain", "backward"]
    x = [t.float().to(DEVICE) for t in intercept_inputs(1, 2, 3, 1)]
    outcome(intercept, x, True, backend="triton")
    assert launched[6:] == ["read", "read_backward"]


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_second_gpu_gives_the_bits_of_the_first():
    x = inputs(b=2, d=64, length=130, n=4, groups=4)
    found = [run(x, "triton", device) for device in ("cuda:0", "cuda:1")]
    assert torch.cuda.current_device() == 0
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name
    y = selective_scan(**{k: v.to("cuda:1") for k, v in x.items()}, backend="triton")
    assert isinstance(y, torch.Tensor) and y.device == torch.device("cuda:1")
