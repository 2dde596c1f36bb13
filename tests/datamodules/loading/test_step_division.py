"""A training step's division over processes and micro-batches, and what is refused."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.datamodules.loading.step_division import StepDivision


@pytest.mark.parametrize(
    ("batch", "processes", "given", "share", "micro", "accumulation", "groups"),
    [(27, 1, None, 27, 27, 1, 1), (27, 3, None, 9, 9, 1, 3), (27, 3, 3, 9, 3, 3, 9), (8, 1, 2, 8, 2, 4, 4),
     (8, 4, 2, 2, 2, 1, 4)],
)  # fmt: skip
def test_a_step_is_divided(batch, processes, given, share, micro, accumulation, groups):
    division = StepDivision(batch, processes, given)
    found = (division.share, division.micro_batch, division.accumulation, division.groups)
    assert found == (share, micro, accumulation, groups)
    assert division.as_dict() == {"batch_size": batch, "processes": processes, "micro_batch": micro}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((27, 2), "27 episodes per optimiser step, which 2 processes cannot share equally; expected 1, 3, 9 or 27 as"),
        ((27, 4), "--data.training.batch_size 24 or 28"),
        ((2, 3), "expected 1 or 2 as number of processes (DEVICES, times nodes), or --data.training.batch_size 3,"),
        ((27, 3, 4), "micro_batch is 4 episodes at once, which does not divide the 9 of a process (batch_size"),
        ((27, 3, 4), "(--data.training.micro_batch) 1, 3 or 9"),
        ((8, 8, 2), "(--data.training.micro_batch) 1"),
    ],
)
def test_what_does_not_divide_is_refused_with_the_numbers_that_would(arguments, words):
    with pytest.raises(SettingsError) as error:
        StepDivision(*arguments)
    assert words in str(error.value) and "\n" not in str(error.value)
