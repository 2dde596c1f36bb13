"""Linear layers of frozen networks by oneDNN, whose kernels are alike on all x86 processors, in place of MKL.

torch computes a linear layer on an x86 CPU by MKL, which on processors of other makers than Intel runs below what they
can. oneDNN comes with torch as well. What makes it multiply in float32 is not public: `torch.utils.mkldnn` copies every
input and output into another layout, which costs what it wins, a 1x1 convolution in one thread goes to MKL again, and
`torch.compile` needs a compiler. So the two operators are taken that torch.compile itself calls, and
`onednn_problem` tries them before anything relies on them.
"""

from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KernelName = Literal["onednn", "default"]
"""Kernels of a frozen network on a CPU: oneDNN's for its linear layers, or torch's choice."""
KernelChoice = Literal["auto", "onednn", "default"]
"""Kernels as a user asks for them; `auto` is decided by the processor's maker."""


@cache
def onednn_problem() -> str | None:
    """Return why oneDNN cannot compute linear layers here; None where it can, which a small layer has shown."""
    version = torch.__version__
    if not torch.backends.mkldnn.is_available():
        return f"torch {version} is built without oneDNN"
    layer = nn.Linear(5, 3).requires_grad_(False)
    inputs = torch.linspace(-1, 1, 10).view(2, 5)
    try:
        found = OneDnnLinear(layer)(inputs)
    except (AttributeError, RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
        return f"torch {version} has no such operators ({type(error).__name__})"
    expected = F.linear(inputs, layer.weight, layer.bias)
    return None if torch.allclose(found, expected, atol=1e-5) else f"torch {version} computes other numbers with it"


class OneDnnLinear(nn.Module):
    """A frozen linear layer in float32 on the CPU whose weight is kept as oneDNN packs it, (…, I) -> (…, O).

    It has no gradients and no entry in a state_dict but the bias: it stands in networks that are built from weights
    and never saved. A pickle of it holds the plain weight.

    Args:
        linear: the layer that it takes the place of.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.bias = linear.bias
        self.packed = _pack(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return y

    def extra_repr(self) -> str:
        outputs, inputs = self.packed.shape
        return f"in_features={inputs}, out_features={outputs}, bias={self.bias is not None}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"packed": self.packed.to_dense()}  # packed tensors can be neither pickled nor copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"packed": _pack(state["packed"])})


def _pack(weight: Tensor) -> Tensor:
    """Return a weight (O, I) in oneDNN's own layout."""
    with torch.no_grad():
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
    return packed


def use_onednn(network: nn.Module) -> nn.Module:
    """Put an `OneDnnLinear` in the place of every linear layer of a frozen float32 network on the CPU; return it.

    Layers of a subclass of `nn.Linear` stay, and so does a network that is a linear layer itself.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child.weight.dtype == torch.float32:
                setattr(parent, name, OneDnnLinear(child))
    return network
