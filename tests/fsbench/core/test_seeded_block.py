"""Random numbers within a block follow from its number, and nothing is left of them afterwards."""

import pytest
import torch

from fsbench.core.seeded_block import seed_torch


def test_a_block_draws_by_its_number_and_gives_the_generator_back():
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    draws = []
    for number in (1, 2, 1):
        with pytest.raises(KeyError), seed_torch(number):
            draws.append(torch.rand(3))
            raise KeyError("an error within the block")
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])


def test_the_generators_of_gpus_in_use_are_given_back(monkeypatch):
    states = {0: "first", 1: "second"}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(states))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.update({device: state}))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: states.update(dict.fromkeys(states, seed)))
    with seed_torch(5):
        assert states == {0: 5, 1: 5}
    assert states == {0: "first", 1: "second"}


def test_gpus_that_nobody_used_are_not_seeded_for_later(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail(f"{seed} waits for their first use"))
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: pytest.fail("a generator that is not given back"))
    with seed_torch(5):
        torch.rand(3)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpus_own_generator_is_given_back():
    torch.cuda.manual_seed(7)
    expected = torch.rand(4, device="cuda")
    torch.cuda.manual_seed(7)
    with seed_torch(1):
        first = torch.rand(3, device="cuda")
    assert torch.equal(torch.rand(4, device="cuda"), expected)
    with seed_torch(1):
        assert torch.equal(torch.rand(3, device="cuda"), first)


@pytest.mark.parametrize("number", [5, 0, 2**32 - 1])
def test_a_cpus_generator_reads_32_bits_of_a_seed(number):
    """The block's docstring says so; if torch reads more one day, that sentence can go."""
    with seed_torch(number):
        first = torch.rand(3)
    with seed_torch(number + 2**32):
        assert torch.equal(torch.rand(3), first)
