"""The group of ranks is left before the process ends: a thread of gloo in a Python that is taken apart aborts it."""

import pytest
from torch import distributed

from fsbench.runner.engine.machine.process_group import leaving_process_group


def join() -> None:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_group_is_left_at_every_end(error):
    with leaving_process_group():
        join()
    assert not distributed.is_initialized()
    with pytest.raises(error), leaving_process_group():
        join()
        raise error
    assert not distributed.is_initialized()


def test_nccl_is_not_left_after_a_failure(monkeypatch):
    """That could wait for a collective of ranks that wait for this process."""
    monkeypatch.setattr(distributed, "get_backend", lambda: "nccl")
    with pytest.raises(RuntimeError), leaving_process_group():
        join()
        raise RuntimeError
    assert distributed.is_initialized()
    with leaving_process_group():
        pass
    assert not distributed.is_initialized()


def test_where_there_is_none_nothing_happens():
    with leaving_process_group():
        pass
