"""Shares of processes: the episodes of a training step and their weights, whatever the division."""

from collections import defaultdict
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fsbench.datamodules.loading.distributed as module
from fsbench.base.errors import SettingsError
from fsbench.datamodules.loading.distributed import TrainingBatches
from fsbench.datamodules.loading.step_division import StepDivision


def steps_of(monkeypatch, length, division, fill_to=1, epoch=0):
    """Return for each step its episodes and the factor of each in the gradient, over all processes."""
    lengths, steps = set(), defaultdict(lambda: defaultdict(Fraction))
    for rank in range(division.processes):
        monkeypatch.setattr(module, "ranks", lambda rank=rank: (rank, division.processes))
        batches = TrainingBatches(length, 3, division, fill_to)
        batches.sampler.set_epoch(epoch)
        found = list(batches)
        lengths |= {len(batches), len(found)}
        for number, items in enumerate(found):
            assert {e for e, _ in items} == {epoch}
            weight = Fraction(batches.loss_weight(number)).limit_denominator(10**6)
            for _, item in items:  # the mean of a micro-batch, over micro-batches (Lightning), over processes (DDP)
                factor = weight / len(items) / division.accumulation / division.processes
                steps[number // division.accumulation][item] += factor
    assert len(lengths) == 1  # or a process would wait for another
    return [{item: factor for item, factor in step.items() if factor} for _, step in sorted(steps.items())]


@given(st.data())
def test_a_step_is_the_mean_of_the_same_episodes_however_it_is_divided(data):
    with pytest.MonkeyPatch.context() as monkeypatch:
        share, processes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
        micro = data.draw(st.sampled_from([m for m in range(1, share + 1) if share % m == 0]))
        batch, length = share * processes, data.draw(st.integers(1, 40))
        alone = steps_of(monkeypatch, length, StepDivision(batch))
        assert steps_of(monkeypatch, length, StepDivision(batch, processes, micro)) == alone
    assert [len(step) for step in alone] == [*[batch] * (length // batch), *[length % batch] * (length % batch > 0)]
    assert all(set(step.values()) == {Fraction(1, len(step))} for step in alone)
    assert sorted(item for step in alone for item in step) == list(range(length))


def test_micro_batches_are_those_of_the_authors_processes(monkeypatch):
    """With their size, whoever computes them: episode r of a step belongs to process r, r + 4 again."""
    alone = list(TrainingBatches(16, 0, StepDivision(8, 1, 2)))
    order = [item for step in (alone[:4], alone[4:]) for turn in (0, 1) for item in [m[turn] for m in step]]
    shares = []
    for rank in range(4):
        monkeypatch.setattr(module, "ranks", lambda rank=rank: (rank, 4))
        shares.append(list(TrainingBatches(16, 0, StepDivision(8, 4))))
        assert [item for batch in shares[-1] for item in batch] == order[rank::4]  # as PyTorch's sampler deals them
    assert [batch for turn in zip(*shares, strict=True) for batch in turn] == alone


@pytest.mark.parametrize(
    ("images", "processes", "each", "steps"),
    [(4208, 4, 2, 526), (3726, 4, 2, 466), (21917, 8, 2, 1370), (5953, 4, 3, 496), (82081, 4, 3, 6840)],
)
def test_steps_per_epoch_of_the_authors_who_drop_the_last(images, processes, each, steps):
    """hmnet.md §10, §2.4.4: floor(ceil(images / processes) / batch of a process)."""
    assert steps == -(-images // processes) // each
    for division in (StepDivision(processes * each), StepDivision(processes * each, 1, each)):
        batches = TrainingBatches(images, 0, division, processes, drop_last=True)
        assert len(batches) == steps * division.accumulation
        assert batches.loss_weight(len(batches) - 1) == 1


def test_an_epoch_is_filled_up_from_its_start(monkeypatch):
    """10 episodes and 3 authors' processes: the last step is the mean over 6 - of them 2 of the first step again."""
    step, last = steps_of(monkeypatch, 10, StepDivision(6, 2), fill_to=3)
    assert len(step) == 6 and set(last.values()) == {Fraction(1, 6)}
    assert len(last) == 6 and len(set(last) & set(step)) == 2


def test_another_epoch_has_another_order_and_too_few_items_are_refused(monkeypatch):
    orders = [list(steps_of(monkeypatch, 20, StepDivision(4), epoch=epoch)[0]) for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    with pytest.raises(SettingsError, match="there are 5 training items, fewer than the 6 of a step"):
        TrainingBatches(5, 0, StepDivision(6), drop_last=True)
