"""Writes into tensors that a method is handed, whatever holds them."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fsbench.base.errors import ContractError
from fsbench.core.handed_out import unchanged


@dataclass(slots=True)
class Slotted:
    tokens: Tensor
    name: str = ""


@pytest.mark.parametrize(
    "hold",
    [
        lambda tensor: tensor,
        lambda tensor: (1, [tensor]),
        lambda tensor: {"tokens": tensor},
        Slotted,
        lambda tensor: (Slotted(tensor), Slotted),
    ],
    ids=["tensor", "list", "dict", "dataclass with slots", "a class beside"],
)
def test_a_write_is_found_in_whatever_holds_the_tensor(hold):
    tensor = torch.ones(2)
    with unchanged("segment() of Method", support=hold(tensor)):
        assert (tensor * 2).sum() == 4
    with (
        pytest.raises(ContractError, match=r"segment\(\) of Method changed its argument support in place"),
        unchanged("segment() of Method", support=hold(tensor)),
    ):
        tensor[None].mul_(2)
