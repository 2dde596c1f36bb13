"""ResNet-101 with a deep stem, as PFENet, BAM, HMNet and HDMNet have it: blocks, statistics, names (resnet101.md)."""

from collections.abc import Callable

import torch
from torch import Tensor

from fsbench.methods.modules.pspnet import PSPNet, Trunk
from fsbench.methods.modules.pspnet_weights import to_hmnet_names
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, Same, Tolerance, relative
from tests.goldens.forms import statistics
from tests.goldens.hashed import hash_values
from tests.goldens.kinds.dcama import stats_relative
from tests.goldens.networks import load_hashed, record_outputs
from tests.goldens.prior_guided import BASE


@torch.no_grad()
def features(dtype: torch.dtype, tag: int, b: int, size: int, train: bool) -> Results:
    trunk = load_hashed(Trunk("resnet101")).to(dtype).train(train)
    found: dict[str, Tensor] = {}
    layers = dict(trunk.named_children())
    stages = [(name, layer) for name, layer in layers.items() if name != "layer0"]
    blocks = {f"{name}.{i}": block for name, layer in stages for i, block in enumerate(layer)}
    record_outputs(found, **layers, **blocks)
    trunk.trunk(hash_values(tag, (b, 3, size, size), -2.0, 2.0).to(dtype))
    results = {f"mid.{name}.stats": statistics(found[name]) for name in ("layer0", *blocks)}
    results["mid.layer0.first8"] = found["layer0"][:, :8]
    for name in layers:
        results |= {f"out.{name}.first8": found[name][:, :8], f"out.{name}.channel_mean": found[name].mean((2, 3))}
    buffers = sorted(trunk.named_buffers())
    for kind in ("running_mean", "running_var"):
        results[f"out.{kind}_l2"] = torch.stack([value.norm() for name, value in buffers if name.endswith(kind)])
    return results


def _single(make: Callable[[float], Tolerance]) -> Callable[[Case], Tolerance]:
    """Return what the cases allow in single precision: many blocks in training mode amplify its rounding."""
    return lambda case: make(1e-2 if case.config["train"] else 1e-3)


def layout(case: Case, model: str) -> Parts:
    """Names in the file's order; what we read of it must be our own layers, in our order."""
    pspnet = model == "pspnet"
    with torch.device("meta"):
        net: Trunk = PSPNet("resnet101", BASE[case.config["data_set"]]) if pspnet else Trunk("resnet101")
        stored = {name: torch.empty(shape) for name, shape in case.data["shapes"].items()}
    read, own = to_hmnet_names(stored), net.state_dict()
    yield {"names": Same(list(read), list(own)), "shapes": _authors(own, pspnet)}
    yield {"order": Same(list(_authors(own, pspnet)), list(stored))}
    yield {"total": sum(p.numel() for p in net.parameters())}


def _authors(own: dict[str, Tensor], pspnet: bool) -> dict[str, list[int]]:
    """Return the shapes under the names of PSPNet's files, in which the layers come twice."""
    layers = {name: list(value.shape) for name, value in own.items() if name.startswith("layer")}
    if not pspnet:
        return layers
    aliases = {f"encoder.{name.removeprefix('layer')}": shape for name, shape in layers.items()}
    rest = {name: list(value.shape) for name, value in own.items() if name not in layers}
    return layers | aliases | {name.replace("base_learner.2.", "cls.4."): shape for name, shape in rest.items()}


DOUBLE = {"": relative(1e-6), "mid.*.stats": stats_relative(1e-6)}
SINGLE = {"*fp32": _single(relative), "mid.*.stats fp32": _single(stats_relative)}
KINDS = {
    "resnet101_features": Kind(features, DOUBLE | SINGLE, precisions={torch.float64: "", torch.float32: "fp32"}),
    "resnet101_layout": Kind(layout),
}
