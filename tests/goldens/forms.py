"""Forms in which goldens store a large tensor: its first entries, its length, means, a statement of its values."""

from collections.abc import Callable

import torch
from torch import Tensor


def statistics(x: Tensor) -> Tensor:
    """Return mean, standard deviation, minimum, maximum and the sum of magnitudes (5,), float64."""
    x = x.detach().double()
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max(), x.abs().sum()])


FORMS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "": lambda x, n: x,
    "first#": lambda x, n: x.flatten()[:n],
    "l2": lambda x, n: x.double().norm(),
    "ch0_#": lambda x, n: x[:, :n],
    "channel_mean": lambda x, n: x.mean((2, 3)),
    "chmean": lambda x, n: x.mean((0, 2, 3))[:64],
    "stats": lambda x, n: statistics(x),
}
"""Functions from a tensor to the form of a name, in which "#" stands for a number; "" is the tensor itself."""


def form_of(x: Tensor, name: str) -> Tensor | None:
    """Return `x` in the form of this name, None if no form has it.

    >>> form_of(torch.arange(6.0), "first2"), form_of(torch.ones(4), "l2").item()
    (tensor([0., 1.]), 2.0)
    """
    if name in FORMS:
        return FORMS[name](x, 0)
    word = name.rstrip("0123456789")
    return FORMS[f"{word}#"](x, int(name.removeprefix(word))) if f"{word}#" in FORMS else None
