"""What the checks of PFENet and BAM have in common: inputs, watched parts, predictions (bam.md §1-§3)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.modules.masked_comparison import masked_layer4
from methods.modules.pspnet import Features
from tests.goldens.harness import EXACT, Case, Comparison, compare, relative
from tests.goldens.hashed import hash_state, hash_values

VALUES = relative(1e-5)
GRADIENTS = relative(1e-4, floor=1e-12)
WHOLE = relative(1e-5)  # in float64
STEP = 4
"""Every fourth row and column of the large maps is stored."""


def given_features(case: Case) -> tuple[Features, Features, Tensor]:
    """Return the features of query and supports that a case gives, with f3 by its layer 4, and that layer's input."""
    t, inputs = case.tensors, []
    weight = t["in.layer4_weight"].double()

    def layer4(x: Tensor) -> Tensor:
        inputs.append(x)
        return torch.relu(F.conv2d(x, weight))

    query2, query3, support2, support3 = (t[f"in.{n}"].double() for n in ("query_f2", "query_f3", "supp_f2", "supp_f3"))
    support = Features(support2.flatten(0, 1), support3.flatten(0, 1), None, None)
    support = masked_layer4(support, t["in.supp_mask"], layer4)
    masked = inputs[0].unflatten(0, support2.shape[:2])
    return Features(query2, query3, layer4(query3), None), support, masked


def without_dropout(module: nn.Module) -> None:
    """Turn dropout off."""
    for part in module.modules():
        if isinstance(part, nn.Dropout2d):
            part.p = 0.0


def record_inputs(found: dict[str, Tensor], **modules: nn.Module) -> None:
    """Record what the `modules` are given, under the names of the arguments, while they run."""
    for name, module in modules.items():
        module.register_forward_pre_hook(lambda _, args, name=name: found.update({name: args[0]}))


def thinned(x: Tensor) -> Tensor:
    """Return every fourth row and column."""
    return x[:, :, ::STEP, ::STEP]


def predictions(case: Case, maps: Tensor, nearness: float) -> Comparison | None:
    """Compare the arg-max of maps (b, 2, H, W), except where both channels differ by less than `nearness`."""
    if "out.pred" not in case.tensors:
        return None
    clear = (maps[:, 1] - maps[:, 0]).abs() >= nearness
    stored = case.tensors["out.pred"]
    case.checked.add("out.pred")
    return compare("out.pred", torch.where(clear, (maps[:, 1] > maps[:, 0]).to(stored), stored), stored, EXACT)


def load_hashed(modules: dict[str, nn.Module], rename: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Load weights by the formula of the index into `modules`, whose own names `rename` turns into the authors'."""
    for module in modules.values():
        own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
        authors = list(rename(own))
        values = hash_state({name: v.shape for name, v in zip(authors, own.values(), strict=True)})
        module.load_state_dict({k: values[name] for k, name in zip(own, authors, strict=True)}, strict=False)
        module.double()


def hashed_images(config: dict[str, Any], batch: int = 1) -> tuple[Tensor, Tensor]:
    """Return query (b, 3, H, H) and supports (b, K, 3, H, H), normalised, by the formula of the index."""
    size = config["size"]
    query = hash_values(config["tag"], (batch, 3, size, size), -2.0, 2.0).double()
    return query, hash_values(config["tag"] + 1, (batch, config["shot"], 3, size, size), -2.0, 2.0).double()
