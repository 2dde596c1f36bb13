"""Calls in a notebook leave the switches of its process as they were."""

import logging
import os
import random
import warnings

import numpy as np
import pytest
import torch
from torch import backends

import fsbench
import fsbench.runner.evaluation.method
import fsbench.runner.evaluation.named
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.run import run

LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "fsbench", "py.warnings")


def state():
    """All that others in the process may rely on."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    return {
        "precision": torch.get_float32_matmul_precision(),
        "tf32": (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32),
        "newer": [backends.mkldnn.matmul.fp32_precision, backends.cudnn.conv.fp32_precision],
        "cudnn": (backends.cudnn.benchmark, backends.cudnn.deterministic),
        "deterministic": torch.get_deterministic_debug_mode(),
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "grad": torch.is_grad_enabled(),
        "warnings": ([one for one in warnings.filters if one[1]], warnings.showwarning),  # others come with imports
        "loggers": [(each.level, each.propagate, list(each.handlers)) for each in loggers],
        "environment": dict(os.environ),
    }


def bright(episode):
    return np.asarray(episode.query).mean(2) > 128


@pytest.mark.slow(4)
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_the_state_of_the_process_is_as_before(precision, tmp_path, clones_data):
    test = fsbench.load_test("demo", root=clones_data / "demo", protocol="pfenet", episodes=2)
    settings = {"protocol": "pfenet", "debug": True, "data_root": str(clones_data / "demo"), "runs": str(tmp_path)}
    more = ("--data.test.episodes=2", "--trainer.deterministic=warn", "--trainer.benchmark=true")
    method = Prototype(BackboneConfig("demo"))
    doors = {
        "load_test": lambda: fsbench.load_test("demo", root=clones_data / "demo", protocol="pfenet", episodes=2)[0],
        "load_training": lambda: fsbench.load_training("demo", root=clones_data / "demo", size=64)[0],
        "evaluate a function": lambda: fsbench.evaluate(bright, test, runs=tmp_path, progress=False),
        "evaluate a method": lambda: fsbench.evaluate(method, test, runs=tmp_path, progress=False, image_size=64),
        "evaluate a name": lambda: fsbench.evaluate("prototype", test, runs=tmp_path, progress=False),
        "run": lambda: run(RunConfig("prototype", "demo", extra=more, **settings)),
        "predict": lambda: fsbench.Predictor("prototype", dataset="demo", device="cpu"),
        "load_runs": lambda: fsbench.load_runs(tmp_path),
    }
    warnings.filterwarnings("ignore", message="mine")
    torch.set_float32_matmul_precision(precision)
    try:
        for door, call in doors.items():
            before = state()
            call()
            after = state()
            assert {name for name in before if before[name] != after[name]} == set(), door
    finally:
        torch.set_float32_matmul_precision("highest")
