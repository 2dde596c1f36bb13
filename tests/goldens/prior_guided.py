"""Parts of the checks of PFENet and its followers: inputs, base learners, changes of images, tolerances (bam.md)."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.data.batch import normalise
from fsbench.methods.modules.base_ensemble import reweight_network, shot_weights
from fsbench.methods.modules.frozen_pspnet import FrozenPSPNet
from fsbench.methods.modules.masked_comparison import masked_layer4
from fsbench.methods.modules.pspnet import Features, PyramidPooling, Trunk, base_head
from fsbench.methods.modules.pspnet_weights import to_hmnet_names
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Parts, Results, Same, relative
from tests.goldens.hashed import hash_values
from tests.goldens.networks import loaded

CHANNELS = {"resnet50": (512, 1024), "resnet101": (512, 1024), "vgg16": (256, 512)}
BASE = {"pascal": 15, "coco": 60}
"""Base classes of a fold."""
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


class BaseLearner(nn.Module):
    """The layers of a PSPNet behind f3 (b, c, ·, ·), of reduced widths, with the weights of a case, frozen."""

    def __init__(self, f3: int, f4: int, classes: int, state: dict[str, Tensor]):
        super().__init__()
        self.ppm = PyramidPooling(f3)
        self.cls = nn.Sequential(nn.Conv2d(2 * f3, f4, 3, padding=1, bias=False), nn.BatchNorm2d(f4))
        self.base_learner = base_head(f4, classes)
        counts = {k: v for k, v in self.state_dict().items() if k.endswith("num_batches_tracked")}
        loaded(self, counts | to_hmnet_names(state)).eval().requires_grad_(False)

    def f4(self, f3: Tensor) -> Tensor:
        """Return f4 of f3."""
        found: Tensor = self.cls(self.ppm(f3))
        return found


class WidePSPNet(FrozenPSPNet):
    """The frozen network in float64."""

    def _build(self, height: int, width: int) -> nn.Module:
        return super()._build(height, width).double()


def augmentations(case: Case, augmentation: Any, cases: Sequence[dict[str, Any]]) -> Parts:
    """Change images, their labels and, where there are any, the labels of base classes, by a case's seeds."""
    for i, drawn in enumerate(cases):
        image, rng = case.tensors[f"in.image_{i}"].numpy(), random.Random(drawn["seed"])
        label, *base = (maps.numpy().astype(np.uint8) for maps in label_maps(case, i).values())
        changed, labels, bases = augmentation.with_more(image, label, base, rng)
        if "next_random_after" in drawn:
            yield {f"{i}: draws": Same(rng.random(), drawn["next_random_after"])}
        yield {f"out.image_{i}": normalise(torch.from_numpy(changed)), f"out.label_{i}": labels}
        yield {f"out.base_{i}": one for one in bases}


def label_maps(case: Case, i: int) -> dict[str, Tensor]:
    """Return the labels (h, w) of image `i`, and those of base classes where there are any."""
    return {name: case.tensors[f"in.{name}_{i}"] for name in ("label", "base") if f"in.{name}_{i}" in case.tensors}


def reweighted(case: Case, shots: int, width: int, est_total: Tensor, sorted_order: bool) -> Results:
    """Return the weights of shots by their distances (b, K, 1, 1), and the weighed distance."""
    net = loaded(reweight_network(shots, width), case.group("state.kshot_rw."))
    weights = shot_weights(est_total, net, sorted_order)
    return {"mid.weight_softmax": weights, "out.est_val": (weights * est_total).sum(1, keepdim=True)}


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
