"""What the checks of PFENet and BAM have in common: inputs, predictions, tolerances (bam.md §1-§3)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.pspnet import Features, Trunk
from tests.goldens.harness import EXACT, Case, relative
from tests.goldens.hashed import hash_values

CHANNELS = {"resnet50": (512, 1024), "resnet101": (512, 1024), "vgg16": (256, 512)}
REDUCED = {"": relative(1e-5), "grad.": relative(1e-4, floor=1e-12), "out.pred": EXACT}
"""Tolerances of heads of reduced widths."""
WHOLE = {"": relative(1e-5), "out.num_batches_tracked": EXACT}
"""Tolerances of whole networks in float64."""
STEP = 4
"""Every fourth row and column of the large maps is stored."""


def network_kind(config: dict[str, Any]) -> Any:
    """Return the kind of a case's network: `vgg16`, `resnet50` or `resnet101`."""
    return "vgg16" if config["backbone"].startswith("vgg") else config["backbone"]


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


def thinned(x: Tensor) -> Tensor:
    """Return every fourth row and column."""
    return x[:, :, ::STEP, ::STEP]


def hashed_images(tag: int, size: int, shot: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Return query (b, 3, H, H) and supports (b, K, 3, H, H), normalised, by the formula of the index."""
    query = hash_values(tag, (batch, 3, size, size), -2.0, 2.0).double()
    return query, hash_values(tag + 1, (batch, shot, 3, size, size), -2.0, 2.0).double()


def read_supports(trunk: Trunk | nn.Module, supports: Tensor, labels: Tensor) -> Features:
    """Return the features (b·K, c, ·, ·) of supports (b, K, 3, H, H), f3 of what their labels (b, K, H, H) show."""
    f1, f2 = trunk.middle(supports.flatten(0, 1))
    return masked_layer4(Features(f1, f2, f2, None), labels, trunk.layer4)
