"""Time and memory of a stage on a GPU."""

import subprocess
import sys

import pytest
import torch

FIRST = (
    "import torch; from fsbench.runner.engine.machine.meter import Meter; print(Meter(torch.device('cuda')).peak_mib)"
)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_process_may_measure_before_it_computes():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert done.stdout == "0.0\n", done.stderr
