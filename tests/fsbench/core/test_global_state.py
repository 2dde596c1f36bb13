"""Switches of the process: TF32 is set so that every interface of torch reads it, and a block gives all back."""

import os
import random
import warnings

import numpy as np
import pytest
import torch
from torch import backends

from fsbench.core.global_state import allow_tf32, kept_global_state, tf32_allowed


def precisions():
    """Return the answers of both of torch's interfaces; the word "refused" where they differ."""

    def read(get):
        try:
            return get()
        except RuntimeError:
            return "refused"

    newer = (
        *(backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn),
        *(backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn),
    )
    older = (lambda: backends.cuda.matmul.allow_tf32, lambda: backends.cudnn.allow_tf32)
    parts = [part.fp32_precision for part in newer]
    return [read(torch.get_float32_matmul_precision), *map(read, older), backends.fp32_precision, *parts]


def same(before, after):
    """Whether all is as it was; where torch refused to say by the older interface, it may say it now."""
    return all(first in (second, "refused") for first, second in zip(before, after, strict=True))


def older_matmul():
    torch.set_float32_matmul_precision("high")
    backends.cuda.matmul.allow_tf32 = False


def newer(owner, value):
    owner.fp32_precision = value


BEFORE = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "mixed": older_matmul,
    "newer": lambda: newer(backends, "tf32"),
    "bf16": lambda: newer(backends, "bf16"),
    "newer matmul": lambda: newer(backends.cuda.matmul, "tf32"),
    "newer convolutions": lambda: newer(backends.cudnn.conv, "ieee"),
}


@pytest.fixture(params=BEFORE)
def set_before(request):
    """Precisions that somebody set before, by any interface."""
    fresh = precisions()
    with kept_global_state():
        BEFORE[request.param]()
        yield
        backends.fp32_precision = "none"
    assert same(fresh, precisions())


@pytest.mark.parametrize("matmul", [False, True])
@pytest.mark.parametrize("convolutions", [False, True])
def test_tf32_is_read_as_it_was_set_by_every_interface(set_before, matmul, convolutions):
    before = precisions()
    with kept_global_state():
        allow_tf32(matmul, convolutions)
        assert torch.get_float32_matmul_precision() == ("high" if matmul else "highest")
        assert [backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32] == [matmul, convolutions] == tf32_allowed()
        assert backends.cudnn.rnn.fp32_precision == ("tf32" if convolutions else "ieee")
        assert backends.mkldnn.conv.fp32_precision == backends.mkldnn.rnn.fp32_precision == "ieee"
    assert same(before, precisions())


def test_a_block_gives_all_switches_back(monkeypatch):
    monkeypatch.setenv("GIVEN", "before")
    filters, threads = list(warnings.filters), torch.get_num_threads()
    drawn = []
    for _ in range(2):
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        with kept_global_state():
            random.seed(5), np.random.seed(6), torch.manual_seed(7)
            warnings.simplefilter("error")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.set_num_threads(threads + 1)
            torch.set_default_dtype(torch.float64)
            backends.cudnn.benchmark = backends.cudnn.deterministic = True
            os.environ.update(GIVEN="within", ADDED="within")
        drawn.append((random.random(), np.random.random(), float(torch.rand(()))))
        assert warnings.filters == filters and not torch.are_deterministic_algorithms_enabled()
        assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, torch.float32)
        assert not backends.cudnn.benchmark and not backends.cudnn.deterministic
        assert os.environ["GIVEN"] == "before" and "ADDED" not in os.environ
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    assert drawn == [(random.random(), np.random.random(), float(torch.rand(())))] * 2


def test_all_is_given_back_where_the_block_fails():
    before = precisions()
    with pytest.raises(ZeroDivisionError), kept_global_state():
        torch.set_float32_matmul_precision("high")
        raise ZeroDivisionError
    assert precisions() == before
