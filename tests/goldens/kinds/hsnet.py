"""HSNet's correlation, 4-D convolution, learner and vote, and PFENet's prior (classical-baselines §3, §4)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.shot_ensemble import combine
from fsbench.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.ops.correlation import hyper_correlation, prior_mask
from fsbench.ops.kept_correlation import keep_correlation, unit
from methods.hsnet import HyperpixelLearner
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Tolerance, absolute, relative
from tests.goldens.hashed import value

SUMMARY = Tolerance("1e-5 each", lambda ref: 1e-5 * ref.abs())


def center_pivot(case: Case) -> Comparisons:
    """The stored gradients are those of sum(y * linspace(-1, 1)); both forms of the operation are held against them."""
    c, t = case.config, case.tensors
    for form in ("forward", "reference"):
        module = CenterPivotConv4d(c["cin"], c["cout"], c["kernel"], c["support_stride"])
        module.load_state_dict(case.state())
        x = t["in.x"].clone().requires_grad_()
        y = getattr(module, form)(x)
        (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
        yield case.compare("out.y", y, absolute(1e-5))
        for name, gradient in ({"x": x.grad} | {n: p.grad for n, p in module.named_parameters()}).items():
            assert gradient is not None
            yield case.compare(f"grad.{name}", gradient, relative(1e-4))


def learner(case: Case) -> Comparisons:
    c, _t = case.config, case.tensors
    counts = c.get("channels") or {"layer4": 3, "layer3": 6, "layer2": 4}
    net = HyperpixelLearner([counts[name] for name in ("layer2", "layer3", "layer4")])
    if "n_parameters" in c:
        found = sum(p.numel() for p in net.parameters())
        yield Comparison("number of parameters", found - c["n_parameters"], 0, "exact", found == c["n_parameters"])
    shapes = {name: p.shape for name, p in sorted(net.named_parameters())}
    net.load_state_dict({name: _weight(name, shape, j) for j, (name, shape) in enumerate(shapes.items(), 1)})
    caught: dict[str, Tensor] = {}
    for name in ("4", "3", "2"):
        net.get_submodule(f"encoder_layer{name}").register_forward_hook(
            lambda m, args, out, name=name: caught.update({name: out.detach()})
        )
    pyramid = []
    for i, name in enumerate(("layer4", "layer3", "layer2")):
        side = c["sides"][name]
        shape = (c["B"], counts[name], side, side, side, side)
        pyramid.append(value(_count(shape), c["input_base"] + i, 1).view(shape).clamp(min=0))
    logits = net(pyramid)
    target = value(logits[:, 0].numel(), c["input_base"] + 9, 1).view(logits[:, 0].shape) > 0
    loss = F.cross_entropy(logits, target.long())
    loss.backward()
    yield case.compare("mid.sqz4", caught["4"], absolute(1e-4))
    for name in ("3", "2"):
        yield case.compare(f"mid.sqz{name}_absmean_sum", _summary(caught[name]), SUMMARY)
    yield case.compare("out.logits", logits, absolute(1e-4))
    yield case.compare("out.loss", loss[None], relative(1e-5))
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        yield case.compare(f"grad_absmean.{name}", parameter.grad.double().abs().mean()[None], relative(1e-3))


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.tensor(shape).prod())


def _weight(name: str, shape: torch.Size, j: int) -> Tensor:
    v = value(shape.numel(), j, 1).view(shape)
    if len(shape) == 1:
        return 0.05 * v if name.endswith("bias") else 1 + 0.1 * v
    return v * (3 / shape[1:].numel()) ** 0.5


def _summary(x: Tensor) -> Tensor:
    return torch.stack([x.double().abs().mean(), x.double().sum()])


def correlation_vote(case: Case) -> Comparisons:
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
        yield case.compare("out.corr4", found[0], absolute(1e-5))
        yield case.compare("out.corr3", found[1][..., :3, :3], absolute(1e-5))
        yield case.compare("out.corr2_absmean_sum", _summary(found[2]), SUMMARY)
        yield case.compare("out.corr2_slice", found[2][:, :, :2, :2, 4, 4:6], absolute(1e-5))
    if "in.vote_logits" in t:
        yield case.compare("out.vote_mask", combine(t["in.vote_logits"], "hsnet_vote")[1], EXACT)


def prior(case: Case) -> Comparisons:
    t, size = case.tensors, case.config["out_size"]
    found = prior_mask(t["in.query_feat4"], t["in.support_feat4"], t["in.support_masks"], (size[0], size[1]))
    yield case.compare("out.prior_per_shot", found, absolute(1e-5))
    yield case.compare("out.prior", found.mean(1, keepdim=True), absolute(1e-5))


KINDS = {
    "center_pivot_conv4d": center_pivot,
    "hsnet_learner": learner,
    "hsnet_correlation_vote": correlation_vote,
    "pfenet_prior": prior,
}
