"""Watch over tensors that a method is handed and that are kept for other episodes, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from fsbench.base.errors import ContractError


@contextmanager
def unchanged(call: str, **given: Any) -> Iterator[None]:
    """Raise ContractError if tensors that were given are written to within the block, which copies none of them.

    Args:
        call: whose block it is, for messages.
        given: tensors, or groups of them, by the names of arguments. What inference mode made is not looked at: nothing
            that is kept is made in it.
    """
    before = [(name, tensor, tensor._version) for name, value in given.items() for tensor in _tensors(value)]
    yield
    for name, tensor, version in before:
        if tensor._version != version:
            raise ContractError(
                f"{call} changed its argument {name} in place; expected it as it was, since it is kept for other "
                "episodes; copy what is to be changed (.clone()), and use no operation whose name ends with _ on it"
            )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if not value.is_inference():
            yield value
        return
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
