"""Networks without memory for their weights, of which only names and shapes are wanted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from fsbench.spared_imports import spared_imports

DRAWING = {
    Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, Tensor.clamp_, init.normal_, init.uniform_, init.kaiming_uniform_,
}  # fmt: skip
"""Steps in which weights are drawn in place."""


class _WithoutDrawing(TorchFunctionMode):
    """Leave out the steps of `DRAWING`: there are no values.

    torch has no kernels for some of them on this device, and imports SymPy for its Python code.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        values: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        if function in DRAWING:
            return values[0] if values else options["tensor"]
        return function(*values, **options)


@contextmanager
def meta_device() -> Iterator[None]:
    """Build the networks of the block on torch's meta device: with names and shapes, but no values."""
    with torch.device("meta"), _WithoutDrawing(), spared_imports():
        yield
