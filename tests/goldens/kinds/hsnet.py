"""HSNet's correlation, 4-D convolution, learner and vote, and PFENet's prior (classical-baselines §3, §4)."""

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.shot_ensemble import combine
from fsbench.methods.hsnet.hsnet import HyperpixelLearner
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.correlation import hyper_correlation, prior_mask
from fsbench.networks.ops.kept_correlation import keep_correlation, unit
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, Same, absolute, proportional, relative
from tests.goldens.hashed import value
from tests.goldens.networks import gradients, loaded, record_outputs

SUMMARY = proportional(1e-5)


def center_pivot(case: Case, cin: int, cout: int, kernel: int, support_stride: int, x: Tensor) -> Parts:
    """The stored gradients are those of sum(y * linspace(-1, 1)); both forms of the operation are held against them."""
    for form in ("forward", "reference"):
        module = loaded(CenterPivotConv4d(cin, cout, kernel, support_stride), case.state())
        own = x.clone().requires_grad_()
        y = getattr(module, form)(own)
        loss = (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum()
        yield {"out.y": y, "grad.": gradients(loss, module, x=own)}


def learner(
    B: int, sides: dict[str, int], input_base: int, channels: Any = None, n_parameters: int | None = None
) -> Results:
    counts = channels or {"layer4": 3, "layer3": 6, "layer2": 4}
    net = HyperpixelLearner([counts[name] for name in ("layer2", "layer3", "layer4")])
    found = sum(p.numel() for p in net.parameters())
    shapes = {name: p.shape for name, p in sorted(net.named_parameters())}
    loaded(net, {name: _weight(name, shape, j) for j, (name, shape) in enumerate(shapes.items(), 1)})
    caught: dict[str, Tensor] = {}
    record_outputs(caught, **{name: net.get_submodule(f"encoder_layer{name}") for name in ("4", "3", "2")})
    pyramid = []
    for i, name in enumerate(("layer4", "layer3", "layer2")):
        shape = (B, counts[name], *[sides[name]] * 4)
        pyramid.append(value(prod(shape), input_base + i, 1).view(shape).clamp(min=0))
    logits = net(pyramid)
    target = value(logits[:, 0].numel(), input_base + 9, 1).view(logits[:, 0].shape) > 0
    loss = F.cross_entropy(logits, target.long())
    return {
        "number of parameters": None if n_parameters is None else Same(found, n_parameters),
        "mid.sqz4": caught["4"],
        "mid.": {f"sqz{name}_absmean_sum": _summary(caught[name]) for name in ("3", "2")},
        "out.logits": logits,
        "out.loss": loss[None],
        "grad_absmean.": {name: g.double().abs().mean()[None] for name, g in gradients(loss, net).items()},
    }


def _weight(name: str, shape: torch.Size, j: int) -> Tensor:
    v = value(shape.numel(), j, 1).view(shape)
    if len(shape) == 1:
        return 0.05 * v if name.endswith("bias") else 1 + 0.1 * v
    return v * (3 / shape[1:].numel()) ** 0.5


def _summary(x: Tensor) -> Tensor:
    return torch.stack([x.double().abs().mean(), x.double().sum()])


def correlation_vote(case: Case) -> Parts:
    t = case.tensors
    maps = {
        side: [t[f"in.{side}.{i:02d}"] for i in range(len(case.group(f"in.{side}.")))] for side in ("query", "support")
    }
    sides = sorted({m.shape[-1] for m in maps["query"]})
    stacks = [
        [torch.stack([m for m in maps[side] if m.shape[-1] == size], 1) for size in sides]
        for side in ("query", "support")
    ]
    plain = [hyper_correlation(q, s, t["in.mask"]) for q, s in zip(*stacks, strict=True)]
    kept = [keep_correlation(unit(q), s, t["in.mask"]).dense() for q, s in zip(*stacks, strict=True)]
    for found in (plain, kept):
        yield {
            "out.corr4": found[0],
            "out.corr3": found[1][..., :3, :3],
            "out.corr2_absmean_sum": _summary(found[2]),
            "out.corr2_slice": found[2][:, :, :2, :2, 4, 4:6],
        }
    if "in.vote_logits" in t:
        yield {"out.vote_mask": combine(t["in.vote_logits"], "hsnet_vote")[1]}


def prior(out_size: list[int], query_feat4: Tensor, support_feat4: Tensor, support_masks: Tensor) -> Results:
    found = prior_mask(query_feat4, support_feat4, support_masks, (out_size[0], out_size[1]))
    return {"out.prior_per_shot": found, "out.prior": found.mean(1, keepdim=True)}


LEARNER = {
    "mid.sqz4": absolute(1e-4),
    "mid.": SUMMARY,
    "out.logits": absolute(1e-4),
    "out.loss": relative(1e-5),
    "grad_absmean.": relative(1e-3),
}
KINDS = {
    "center_pivot_conv4d": Kind(center_pivot, {"out.y": absolute(1e-5), "grad.": relative(1e-4)}),
    "hsnet_learner": Kind(learner, LEARNER),
    "hsnet_correlation_vote": Kind(correlation_vote, {"out.corr": absolute(1e-5), "out.corr2_absmean_sum": SUMMARY}),
    "pfenet_prior": Kind(prior, {"": absolute(1e-5)}),
}
