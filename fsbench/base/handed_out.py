"""Watch over what a method is handed and what is kept for other episodes, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import ContractError

KINDS = "?bBhHiIlLqQefd"
"""Types of numpy that torch has, too."""

WHOLE: ContextVar[bool] = ContextVar("whole", default=False)
"""Whether the numbers of what is handed out are compared."""


@contextmanager
def whole_contents() -> Iterator[None]:
    """Within the block, compare all numbers of what is handed to a method, besides torch's counts of writes."""
    token = WHOLE.set(True)
    try:
        yield
    finally:
        WHOLE.reset(token)


class Seal:
    """State of tensors at the time they are handed to a method, from which later in-place writes are detected.

    torch counts the writes to a tensor and its views, but not those through `.data` or numpy, nor those to tensors made
    in inference mode; these are found within `whole_contents`.

    Args:
        value: a tensor or an array, or containers of them.
    """

    def __init__(self, value: Any):
        self._states = [
            (name, one, None if one.is_inference() else one._version, _numbers(one) if WHOLE.get() else None)
            for name, one in tensors_of(value)
        ]

    def check(self, call: str, what: str) -> None:
        """Raise ContractError, naming `what` was written to and by which `call`, if the tensors were written to."""
        for part, one, writes, numbers in self._states:
            is_written = writes is not None and one._version != writes
            if is_written or not (numbers is None or numbers.equal(_numbers(one))):
                raise ContractError(
                    f"{call} changed {what}{part} in place; expected it as it was, since it is kept for other "
                    "episodes; copy what is to be changed (.clone()), and use no operation whose name ends with _ on it"
                )


@contextmanager
def unchanged(call: str, **given: Any) -> Iterator[None]:
    """Within the block, the given values must not be written to.

    Args:
        call: the function that runs in the block, for messages.
        **given: tensors, or containers of tensors, by the names that messages give them.

    Raises:
        ContractError: a value was written to.
    """
    seals = [Seal(value) for value in given.values()]
    yield
    for name, seal in zip(given, seals, strict=True):
        seal.check(call, f"its argument {name}")


def _numbers(tensor: Tensor) -> Any:
    """Copy a tensor's numbers as bytes, of which NaN equals itself; None if it has none that can be compared."""
    has_none = tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta
    if has_none or not tensor.numel():
        return None
    return tensor.detach().flatten().clone().view(torch.uint8)


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a value and the names of the fields and entries that lead to each; arrays as tensors."""
    if isinstance(value, np.ndarray) and value.flags.carray and value.dtype.isnative and value.dtype.char in KINDS:
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        yield name, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from tensors_of(part, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_of(part, name)
