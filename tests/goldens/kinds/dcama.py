"""DCAMA's head: coarse masks, logits, losses, gradients, training steps, ablations (dcama.md §5-§9, §11)."""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from methods.dcama.dcama import DCAMA
from methods.dcama.head import DCAMAHead
from methods.dcama.options import HeadOptions
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Tolerance, absolute, compare, relative
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.kinds.dcama_attention import PATHS


def weights(case: Case) -> Comparisons:
    """Compare names and shapes of a file of weights, which other cases use, with the head's."""
    head = DCAMAHead(tuple(case.config["channels"]), tuple(case.config["nlayers"]))
    found = {key: tuple(value.shape) for key, value in case.tensors.items()}
    state = {key.removeprefix("state."): shape for key, shape in found.items()}
    own = {key: tuple(value.shape) for key, value in head.state_dict().items()}
    yield Comparison("names and shapes", 0.0, 0.0, "exact", state == own)


def _switches(case: Case) -> dict[str, Any]:
    """Options of the head that the configuration of a case names."""
    names = {field.name for field in dataclasses.fields(HeadOptions)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in case.config.items() if k in names}


def _head(case: Case, **fixed: Any) -> DCAMAHead:
    options = HeadOptions(**_switches(case) | fixed)
    head = DCAMAHead(tuple(case.config["channels"]), tuple(case.config["nlayers"]), options).eval()
    stored = case.entry.get("state", "hash_weights")
    if stored.endswith(".safetensors"):
        state = {k.removeprefix("state."): v.float() for k, v in load_file(case.folder / stored).items()}
    else:
        state = hash_state({key: value.shape for key, value in head.state_dict().items()})
    head.load_state_dict(state)
    return head


def _scales(layers: list[Tensor], nlayers: Iterable[int], dim: int) -> list[Tensor]:
    """Maps by layer -> by scale, layers stacked in dimension `dim`."""
    ends = np.cumsum([0, *nlayers])
    return [torch.stack(layers[a:b], dim) for a, b in itertools.pairwise(ends)]


def _stored_pyramids(case: Case, prefix: str = "in.") -> tuple[list[Tensor], list[Tensor]]:
    """Query and support pyramids; the supports have an index of the shot, or are one shot without."""
    nlayers, t = case.config["nlayers"], case.tensors
    layers = range(sum(nlayers))
    query = _scales([t[f"{prefix}query_feat.{i}"] for i in layers], nlayers, 1)
    if f"{prefix}support_feat.0" in t:
        support = [t[f"{prefix}support_feat.{i}"][:, None] for i in layers]
    else:
        shots = len([k for k in t if k.startswith(f"{prefix}support_feat.") and k.endswith(".0")])
        support = [torch.stack([t[f"{prefix}support_feat.{k}.{i}"] for k in range(shots)], 1) for i in layers]
    return query, _scales(support, nlayers, 2)


def _by_shot(masks: Tensor) -> Tensor:
    """(B, S, S) of one shot or (B, K, S, S) -> (B, K, S, S)"""
    return masks if masks.ndim == 4 else masks[:, None]


def _coarse(head: DCAMAHead, query: list[Tensor], support: list[Tensor], masks: Tensor) -> list[Tensor]:
    """Coarse masks (B, HW) of all attended layers in forward order."""
    found = head.coarse_masks(query, support, masks)
    return [mask.flatten(1) for scale in sorted(found) for mask in found[scale].unbind(1)]


def compare_decisions(case: Case, name: str, logits: Tensor, reference: Tensor, tolerance: float) -> Comparison | None:
    """Compare a prediction exactly, except where the logits are nearly equal."""
    if name not in case.tensors:
        return None
    case.checked.add(name)
    sure = (reference[:, 1] - reference[:, 0]).abs() >= 2 * tolerance
    stored = case.tensors[name]
    return compare(f"{name} ({int((~sure).sum())} close pixels left out)", logits.argmax(1)[sure], stored[sure], EXACT)


def _watch(net: DCAMAHead) -> dict[str, Tensor]:
    """A dictionary that holds, after a forward pass, what the blocks gave and what the first mixer got."""
    caught: dict[str, Tensor] = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda m, args, out, name=name: caught.update({name: out.detach()}))
    net.mixer1.register_forward_pre_hook(lambda m, args: caught.update(mixer1_in=args[0].detach()))
    net.mixer1[-1].register_forward_hook(lambda m, args, out: caught.update(mixer1=out.detach()))
    return caught


def head(case: Case) -> Comparisons:
    t, tolerance = case.tensors, case.entry["tolerance"]
    query, support = _stored_pyramids(case)
    masks = t["in.support_mask"]
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            net = _head(case)
            caught = _watch(net)
            logits = net(query, support, masks)
            yield case.compare("out.logits", logits, absolute(tolerance["out_logits_abs"]))
            for i, coarse in enumerate(_coarse(net, query, support, masks)):
                if f"mid.coarse.{i}" in t:
                    yield case.compare(f"mid.coarse.{i}", coarse, absolute(tolerance["coarse_abs"]))
            reference = t.get("out.logits", logits.detach())
            yield compare_decisions(case, "out.pred", logits, reference, tolerance["out_logits_abs"])
            for name, value in caught.items():
                yield from _forms(case, f"mid.{name}", value, lambda ref: absolute(tolerance["out_logits_abs"]))
            if "in.query_mask" not in t:
                continue
            loss = F.cross_entropy(logits, t["in.query_mask"].long())
            yield case.compare("out.loss", loss, absolute(tolerance["loss_abs"]))
            if case.group("grad."):
                loss.backward()
                for name, parameter in net.named_parameters():
                    yield from _gradient(case, name, parameter.grad, tolerance["grad_rel"])


def _gradient(case: Case, name: str, gradient: Tensor | None, tolerance: float) -> Comparisons:
    assert gradient is not None, name
    if name.endswith("linears.1.bias"):  # zero in truth; the stored one is rounding
        for key in [k for k in case.tensors if k.startswith(f"grad.{name}")]:
            case.checked.add(key)
        yield compare(f"grad.{name} (zero)", gradient, torch.zeros_like(gradient), absolute(1e-7))
        return
    largest = float(gradient.abs().max())
    yield from _forms(case, f"grad.{name}", gradient, lambda ref: relative(tolerance, scale=max(largest, 1e-30)))


def _forms(case: Case, name: str, value: Tensor, tolerance: Any) -> Comparisons:
    """A tensor against every form in which it is stored (`about` of the index)."""
    for key in [k for k in case.tensors if k == name or k.startswith(f"{name}.")]:
        form = key.removeprefix(name).lstrip(".")
        chosen: Tolerance = tolerance(case.tensors[key])
        if form == "":
            yield case.compare(key, value, chosen)
        elif form.startswith("first"):
            yield case.compare(key, value.flatten()[: int(form.removeprefix("first"))], chosen)
        elif form == "l2":
            yield case.compare(key, value.double().norm(), relative(2e-3))
        elif form.startswith("ch0_"):
            yield case.compare(key, value[:, : int(form.removeprefix("ch0_"))], chosen)
        elif form == "channel_mean":
            yield case.compare(key, value.mean((2, 3)), chosen)


def statistics(value: Tensor) -> Tensor:
    x = value.double()
    return torch.stack([x.mean(), x.std(correction=0), x.min(), x.max(), x.abs().sum()])


def stats_absolute(tol: float) -> Tolerance:
    """The first four absolute, the sum of |x| relative."""
    return Tolerance(
        f"{tol:g}, sum relative",
        lambda ref: torch.cat([torch.full((4,), tol, dtype=torch.float64), tol * ref[4:].abs()]),
    )


def stats_relative(tol: float) -> Tolerance:
    """The mean against the spread, the others relative."""
    return Tolerance(f"{tol:g} relative", lambda ref: tol * torch.cat([ref[1:2], ref[1:]]).abs())


def head_true(case: Case) -> Comparisons:
    c, t, tolerance = case.config, case.tensors, case.entry["tolerance"]
    net, side, shots = _head(case), c["input_size"], c["shot"]
    layers = [(w, s) for w, s, n in zip(c["channels"], c["map_sizes"], c["nlayers"], strict=True) for _ in range(n)]

    def pyramid(tag: int) -> list[Tensor]:
        maps = [hash_values(tag + i, (1, w, s, s), -2, 2) for i, (w, s) in enumerate(layers)]
        return _scales(maps, c["nlayers"], 1)

    query = pyramid(c["tag"])
    supports = [pyramid(c["tag"] + 1000 * (k + 1)) for k in range(shots)]
    support = [torch.stack(scales, 1) for scales in zip(*supports, strict=True)]
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    discs = [(y - 0.45 * side) ** 2 + (x - (0.4 + 0.05 * k) * side) ** 2 < (0.28 * side) ** 2 for k in range(shots)]
    masks = torch.stack(discs)[None].float()
    with torch.no_grad():
        coarse = net.coarse_masks(query, support, masks)
        logits = net.decode(coarse, query, support)
    if "out.logits.strided" in t:
        step = side // t["out.logits.strided"].shape[-1]
        yield case.compare("out.logits.strided", logits[..., ::step, ::step], absolute(tolerance["logits_abs"]))
    yield case.compare("out.logits.stats", statistics(logits), stats_absolute(tolerance["logits_abs"]))
    close = int(((logits[:, 1] - logits[:, 0]).abs() < 2 * tolerance["logits_abs"]).sum())
    yield case.compare("out.fg_count", logits.argmax(1).sum((1, 2)), absolute(close))
    flat = [mask.flatten(1) for scale in sorted(coarse) for mask in coarse[scale].unbind(1)]
    for i, found in enumerate(flat):
        yield case.compare(f"mid.coarse.{i}.first8", found.flatten()[:8], absolute(tolerance["coarse_abs"]))
        yield case.compare(f"mid.coarse.{i}.stats", statistics(found), stats_absolute(tolerance["coarse_abs"]))


def train_steps(case: Case) -> Comparisons:
    t, tolerance = case.tensors, case.entry["tolerance"]
    for path in PATHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FSBENCH_MASK_ATTENTION", path)
            yield from _train(case, t, tolerance)


def _train(case: Case, t: dict[str, Tensor], tolerance: dict[str, float]) -> Comparisons:
    method = _Bare(_head(case, dropout=0.0))
    optimiser = method.configure_optimizers()
    before = {name: p.detach().clone() for name, p in method.model.named_parameters()}
    for step in range(case.config["steps"]):
        query, support = _stored_pyramids(case, f"in.step{step}.")
        masks = _by_shot(t[f"in.step{step}.support_mask"])
        logits = method.logits(query, support, masks, torch.zeros(len(masks)))
        loss = F.cross_entropy(logits, t[f"in.step{step}.query_mask"].long())
        yield case.compare(f"out.step{step}.loss", loss, absolute(tolerance["loss_abs"]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, parameter in method.model.named_parameters():
        for key in [k for k in t if k.startswith(f"out.param.{name}.first") or k == f"out.param.{name}"]:
            count = t[key].numel()
            yield case.compare(key, parameter.flatten()[:count].view(t[key].shape), absolute(tolerance["param_abs"]))
        change = (parameter.detach() - before[name]).double().norm()
        yield case.compare(f"out.delta_l2.{name}", change, relative(tolerance["delta_rel"], floor=1e-12))


class _Bare(DCAMA):
    """The method around a given head, without a backbone, with the defaults of its optimiser."""

    def __init__(self, head: DCAMAHead):
        torch.nn.Module.__init__(self)
        self.model = head
        self.options = head.options
        self.learning_rate, self.momentum, self.weight_decay = 1e-3, 0.9, 1e-4


def ablation(case: Case) -> Comparisons:
    """A variant that the configuration names; where it names none, that of Table 3."""
    t, tolerance = case.tensors, case.entry["tolerance"]
    query, support = _stored_pyramids(case)
    masks = _by_shot(t["in.support_mask"])
    net = _head(case) if _switches(case) else _head(case, support_background="zero")
    with torch.no_grad():
        yield case.compare("out.logits", net(query, support, masks), absolute(tolerance["logits_abs"]))
        for i, coarse in enumerate(_coarse(net, query, support, masks)):
            if f"mid.coarse.{i}" in t:
                yield case.compare(f"mid.coarse.{i}", coarse, absolute(1e-5))


KINDS = {
    "weights": weights,
    "head": head,
    "head_true": head_true,
    "train_steps": (lambda case: "nlayers" in case.config, train_steps),
    "ablation": (lambda case: "nlayers" in case.config, ablation),
}
