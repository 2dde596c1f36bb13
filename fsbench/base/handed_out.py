"""Watch over what a method is handed and what is kept for other episodes, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import ContractError

PLACES = 64
"""Numbers of a kept tensor that are compared where its writes cannot be counted."""

KINDS = "?bBhHiIlLqQefd"
"""Types of numpy that torch has, too."""

WHOLE: ContextVar[bool] = ContextVar("whole", default=False)
"""Whether all numbers of what is handed out are compared."""


@contextmanager
def whole_contents() -> Iterator[None]:
    """Within the block, detect writes to values handed to a method by comparing all their numbers, not only some."""
    token = WHOLE.set(True)
    try:
        yield
    finally:
        WHOLE.reset(token)


class Seal:
    """State of tensors at the time they are handed to a method, from which later in-place writes are detected.

    torch counts the writes to a tensor and its views, but not those through `.data` or numpy, nor those to tensors made
    in inference mode. So some numbers are copied and compared, too.

    Args:
        value: a tensor or an array, or containers of them.
        places: how many numbers, spread over each tensor in the CPU's memory, are copied for comparison.
    """

    def __init__(self, value: Any, places: int = 0):
        self.places = -1 if WHOLE.get() else places
        self._states: list[tuple[str, Tensor, int | None, Any]] = []
        for name, one in tensors_of(value):
            writes = None if one.is_inference() else one._version
            self._states.append((name, one, writes, _numbers(one, self.places)))

    def check(self, call: str, what: str) -> None:
        """Raise ContractError, naming `what` was written to and by which `call`, if the tensors were written to."""
        for part, one, writes, numbers in self._states:
            is_written = writes is not None and one._version != writes
            if is_written or not (numbers is None or numbers.equal(_numbers(one, self.places))):
                raise ContractError(
                    f"{call} changed {what}{part} in place; expected it as it was, since it is kept for other "
                    "episodes; copy what is to be changed (.clone()), and use no operation whose name ends with _ on it"
                )


@contextmanager
def unchanged(call: str, places: int = 0, **given: Any) -> Iterator[None]:
    """Within the block, the given values must not be written to; some numbers of each may be copied for comparison.

    Args:
        call: the function that runs in the block, for messages.
        places: how many numbers of each tensor are compared, besides torch's count of writes.
        **given: tensors, or containers of tensors, by the names that messages give them.

    Raises:
        ContractError: a value was written to.
    """
    seals = [Seal(value, places) for value in given.values()]
    yield
    for name, seal in zip(given, seals, strict=True):
        seal.check(call, f"its argument {name}")


def _numbers(tensor: Tensor, places: int) -> Any:
    """Copy some numbers of the memory that a tensor lies in, as bytes: NaN equals itself then.

    With places = -1 they are all of the tensor's own, wherever it is; None if there are none to compare.
    """
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        return None
    if places < 0:
        return tensor.detach().flatten().clone().view(torch.uint8)
    if not places or tensor.device.type != "cpu":
        return None
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.detach().as_strided((count,), (1,), 0)[_chosen(count, places)].view(torch.uint8)


@lru_cache(maxsize=64)
def _chosen(count: int, places: int) -> Tensor:
    """Return places among `count`: multiples of the golden ratio, for equal distances could all lie in one channel."""
    if count <= places:
        return torch.arange(count)
    return (torch.arange(places).double() * (5**0.5 / 2 - 0.5) % 1 * count).long()


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
