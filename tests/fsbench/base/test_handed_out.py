"""Writes into what a method is handed, whatever holds it and whether torch counts them or not."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from fsbench.base.errors import ContractError
from fsbench.base.handed_out import Seal, unchanged, whole_contents


def changed(seal):
    """Return the part that was written to, None where none was."""
    try:
        seal.check("segment()", "")
    except ContractError as error:
        return str(error).removeprefix("segment() changed ").partition(" in place")[0]


@dataclass(slots=True)
class Slotted:
    tokens: Tensor
    name: str = ""


@pytest.mark.parametrize(
    ("hold", "part"),
    [
        (lambda tensor: tensor, ""),
        (lambda tensor: (1, [tensor]), ""),
        (lambda tensor: {"tokens": tensor}, ".tokens"),
        (Slotted, ".tokens"),
        (lambda tensor: (Slotted(tensor), Slotted), ".tokens"),
    ],
    ids=["tensor", "list", "dict", "dataclass with slots", "a class beside"],
)
def test_a_write_is_found_in_whatever_holds_the_tensor(hold, part):
    tensor = torch.ones(2)
    with unchanged("segment() of Method", support=hold(tensor)):
        assert (tensor * 2).sum() == 4
    with (
        pytest.raises(ContractError, match=rf"segment\(\) of Method changed its argument support{part} in place"),
        unchanged("segment() of Method", support=hold(tensor)),
    ):
        tensor[None].mul_(2)


UNCOUNTED = {
    "data": lambda tensor: tensor.data.neg_(),
    "a view of numpy": lambda tensor: np.negative(tensor.numpy(), out=tensor.numpy()),
}


@pytest.mark.parametrize("write", UNCOUNTED.values(), ids=UNCOUNTED)
def test_writes_that_torch_does_not_count_are_found_where_numbers_are_compared(write):
    counted, compared = torch.arange(1000.0), torch.arange(1000.0)
    seals = [Seal(counted)]
    with whole_contents():
        seals.append(Seal((1, compared)))
    assert changed(seals[1]) is None
    write(counted), write(compared)
    assert changed(seals[0]) is None and changed(seals[1]) == ""


def test_tensors_without_numbers_to_compare_are_watched_by_their_writes():
    kept = [
        torch.eye(3).to_sparse(),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        torch.ones(3).to("meta"),
    ]
    for one in kept:
        with whole_contents():
            seal = Seal(one)
        assert changed(seal) is None
        one.mul_(2)
        assert changed(seal) == ""


@pytest.mark.parametrize("is_inference", [False, True])
def test_every_number_is_compared_where_all_contents_are(is_inference):
    with torch.inference_mode(is_inference):
        tensor, seen = torch.arange(1000.0), torch.full((3,), torch.nan)
        with whole_contents(), unchanged("segment()", support=(tensor[500:], seen)):
            tensor.data[3] = -1  # of which the method was handed nothing
        with (
            pytest.raises(ContractError, match=r"segment\(\) changed its argument support in place"),
            whole_contents(),
            unchanged("segment()", support=(tensor[500:], seen)),
        ):
            tensor.data[501] = -1


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float64", ">f4", "complex64", "object"])
def test_arrays_are_compared_where_torch_has_their_type(dtype):
    array = np.zeros(300, dtype)
    others = [np.zeros(8)[::-1], np.zeros(0), torch.zeros(0), torch.eye(2).to_sparse()]
    with whole_contents():
        seal, unwritten = Seal({"kept": array}), Seal(others)
    assert changed(seal) is None
    array[:] = 1
    assert changed(seal) == (None if dtype in (">f4", "complex64", "object") else ".kept")
    assert changed(unwritten) is None
